"""Sampling pairs for review, reading labels, and the figures they give."""
