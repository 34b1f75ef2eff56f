"""The product store: the current data of every product, in LMDB."""
