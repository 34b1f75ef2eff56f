"""Pages about evaluations."""
