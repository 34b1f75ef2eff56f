"""Stages of the online service: build a release, start and reload the server, compare products with it."""
