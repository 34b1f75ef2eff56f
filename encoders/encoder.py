"""The interface of encoders: pictures and titles to unit vectors.

Implemented in torch (`mmprod.encoders.clip`) and by exported engines (`mmprod.encoders.export.encoder`). This
module imports no torch, so that code which only uses an encoder need not load it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from mmprod.datasets.images.geometry import Geometry


class Encoder(Protocol):
    """Encodes titles and pictures. Vectors are comparable only between encoders with equal fingerprints."""

    @property
    def fingerprint(self) -> str:
        """Hash of weights, architecture, preprocessing, tokenizer and normal forms: 64 hex digits."""

    @property
    def width(self) -> int:
        """Dimension d of the vectors; 0 for a BLIP that can only caption."""

    @property
    def backend(self) -> str:
        """Runtime and precision that make the vectors, such as "torch-fp32" (`mmprod.encoders.backends`)."""

    @property
    def geometry(self) -> Geometry:
        """The size of the image tower's input, and how pictures are resized to it."""

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Encode titles in normal form: float32 [n, d], each row of unit length."""

    def tokens(self, titles: Sequence[str]) -> np.ndarray:
        """The text tower's input for titles in normal form: int64 [n, context length], padded."""

    def of_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """As `titles`, for tokens as `tokens` makes them."""

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Encode RGB pictures: float32 [n, d], each row of unit length."""

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """As `pictures`, for pixels as `geometry` makes them: uint8 [3, height, width] each."""

    def cut(self, tokens: np.ndarray) -> int:
        """Number of titles that fill the context window up to at most one token, so they may be truncated."""
