"""BLIP: one model for retrieval (ITC vectors), re-scoring (ITM) and captions (LM)."""
