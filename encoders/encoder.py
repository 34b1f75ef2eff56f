"""What every encoder is, whoever does its arithmetic: a picture or a title in, a unit vector out.

Imports no torch: who only asks names this, and is answered by torch (`mmprod.encoders.clip`) or by an
exported engine (`mmprod.encoders.export.encoder`).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image


class Encoder(Protocol):
    """Titles and pictures to vectors of one length. Equal fingerprints give vectors that can be compared."""

    @property
    def fingerprint(self) -> str:
        """Of weights, architecture, preprocessing, tokenizer and normal forms: 64 hex digits."""

    @property
    def width(self) -> int:
        """Length d of the vectors; 0 where it makes none (a BLIP that can only caption)."""

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles in normal form to float32 [n, d], each row of unit length."""

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures to float32 [n, d], each row of unit length."""

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture as the image tower takes it, [3, height, width]: small, however large it was."""

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """What `pictures` gives for the pictures that these were made of by `pixels`."""

    def cut(self, titles: Sequence[str]) -> int:
        """How many titles leave at most one token of the context window free: what follows is not seen."""
