"""Fine-tuning: batches, objectives, the loop, checkpoints."""
