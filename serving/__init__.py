"""The online service: vectors, similarity and search for products given by id, title or picture; no torch."""
