"""Towers, training, embedding a stream of products, and fusion of image and text."""
