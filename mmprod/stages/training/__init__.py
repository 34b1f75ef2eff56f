"""What makes encoders, and compares them."""
