"""Stages that make encoders: training, fine-tuning, comparison, export."""
