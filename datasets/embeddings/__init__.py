"""The embedding table of an encoder, and parts of it that are encoded separately."""
