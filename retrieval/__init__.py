"""Search: vector fusion, the Faiss index, exact search (the reference), recall table, keyword baseline."""
