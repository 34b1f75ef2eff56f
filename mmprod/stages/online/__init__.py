"""What is served online."""
