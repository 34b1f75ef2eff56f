"""Tables as shops deliver them, read into our own columns."""
