"""Product tables, the LMDB product store, ingest, and one form for images and text."""
