"""Faiss index, exact search (the oracle), recall table and the keyword baseline."""
