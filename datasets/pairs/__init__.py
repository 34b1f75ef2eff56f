"""Training pairs from the product store: selection, quality rules, split and reading."""
