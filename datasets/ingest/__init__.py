"""A day's table merged into the product store."""
