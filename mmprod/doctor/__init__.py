"""Examines this machine, and whether the configuration can work on it."""
