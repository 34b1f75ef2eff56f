"""The table of vectors, and parts of it encoded apart."""
