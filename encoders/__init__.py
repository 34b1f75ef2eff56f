"""Encoders of pictures and titles: loading, encoding, training, fine-tuning and export."""
