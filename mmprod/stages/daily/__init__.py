"""The daily stages: ingest, embed, index, recall, groups, features."""
