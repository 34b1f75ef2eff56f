"""Ingest: merging a day's table into the product store."""
