"""From a marketplace's product catalogue to multimodal embeddings, and from those to answers."""

__version__ = "0.1.0"
