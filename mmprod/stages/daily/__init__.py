"""What runs every day: ingest, embed, index, recall."""
