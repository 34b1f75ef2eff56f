"""Training pairs from the product store: which, how split, judged and read."""
