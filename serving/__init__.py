"""The online service: vectors, similarity and search for raw titles and pictures. Runs without torch."""
