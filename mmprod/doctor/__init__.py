"""What this machine is, and whether what is configured can work on it."""
