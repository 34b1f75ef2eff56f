"""The interface of encoders: pictures and titles to unit vectors.

Implemented in torch (`mmprod.encoders.clip`) and by exported engines (`mmprod.encoders.export.encoder`). This
module imports no torch, so that code which only uses an encoder need not load it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image


class Encoder(Protocol):
    """Encodes titles and pictures. Vectors are comparable only between encoders with equal fingerprints."""

    @property
    def fingerprint(self) -> str:
        """Hash of weights, architecture, preprocessing, tokenizer and normal forms: 64 hex digits."""

    @property
    def width(self) -> int:
        """Dimension d of the vectors; 0 for a BLIP that can only caption."""

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Encode titles in normal form: float32 [n, d], each row of unit length."""

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Encode RGB pictures: float32 [n, d], each row of unit length."""

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """The image tower's input for an RGB picture, [3, height, width]: small even for a large picture."""

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """As `pictures`, for inputs that `pixels` has prepared."""

    def cut(self, titles: Sequence[str]) -> int:
        """Number of titles that fill the context window up to at most one token, so they may be truncated."""
