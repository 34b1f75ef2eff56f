"""The product store, in LMDB."""
