"""Pictures: reading, fetching and decoding."""
