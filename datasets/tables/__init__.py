"""Readers of product tables as shops deliver them: Parquet, CSV and XML, converted to schema `PRODUCT`."""
