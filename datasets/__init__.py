"""Product tables, pictures, the product store, ingest, training pairs and the embedding table."""
