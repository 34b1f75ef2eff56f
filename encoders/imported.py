"""The encoder of vectors that were made elsewhere and imported: it has vectors, but can't encode."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from mmprod.datasets.embeddings.import_plan import BACKEND
from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer
from mmprod.datasets.images.geometry import Geometry
from mmprod.storage.errors import InputError


@dataclass(frozen=True)
class Imported:
    """Stands for the model that made the vectors of the embedding table at `root`.

    Encoding raises InputError, unless there is nothing to encode: so whatever only reuses vectors works.
    """

    model_name: str  # as in encoder.model
    fingerprint: str
    width: int
    root: Path
    backend: ClassVar[str] = BACKEND
    geometry: ClassVar[Geometry] = Geometry(1, 1, "squash", "bilinear", 0)

    @property
    def table(self) -> EmbeddingTable:
        """The embedding table as it is now."""
        return EmbeddingTable(self.root, self.fingerprint, self.width, len(read_pointer(self.root).position))

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Raises: InputError if there is a title."""
        return self._nothing(titles, "a text")

    def tokens(self, titles: Sequence[str]) -> np.ndarray:
        """Raises: InputError if there is a title."""
        return self._nothing(titles, "a text").astype(np.int64)

    def of_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """Raises: InputError if there are tokens."""
        return self._nothing(tokens, "a text")

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Raises: InputError if there is a picture."""
        return self._nothing(pictures, "a picture")

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Raises: InputError if there are pixels."""
        return self._nothing(pixels, "a picture")

    def cut(self, tokens: np.ndarray) -> int:
        """0: nothing is cut."""
        return 0

    def _nothing(self, inputs: Sequence[object] | np.ndarray, what: str) -> np.ndarray:
        if len(inputs):
            raise InputError(
                f"{self.model_name} has only vectors that were imported, so it can't encode {what}: search "
                "by product instead (--product ID), or build an index with an encoder that can"
            )
        return np.empty((0, self.width), np.float32)
