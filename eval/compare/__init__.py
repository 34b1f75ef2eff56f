"""Comparisons of two systems, and of successive evaluations."""
