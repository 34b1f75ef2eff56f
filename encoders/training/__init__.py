"""Fine-tuning: batches, objectives, the training loop, checkpoints."""
