"""Sampling pairs for review, reading labels, and computing figures from them."""
