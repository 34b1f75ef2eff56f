"""A search query: texts and pictures that products should fit, and others that they should not fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmprod.datasets.images.images import MAX_BYTES, BadImage, decode
from mmprod.datasets.text import normalise_title
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export.spec import Tower
from mmprod.storage.errors import InputError

_EMPTY = 'the query is empty: say what to look for, e.g. "red dress" or --picture lamp.jpg'
LESS = 0.25
"""The weight of the unwanted texts and pictures in a query."""


@dataclass(frozen=True)
class Query:
    """Texts and picture files, wanted and unwanted.

    With u the mean of the unit vectors of what is wanted, and v that of what is not, the query vector is
    (u - LESS · v) / |u - LESS · v|; that of a single text is the text's own vector.
    """

    texts: Sequence[str] = ()
    pictures: Sequence[Path] = ()
    without_texts: Sequence[str] = ()
    without_pictures: Sequence[Path] = ()

    def __str__(self) -> str:
        wanted = " + ".join([*self.texts, *map(str, self.pictures)])
        return " - ".join([wanted, *self.without_texts, *map(str, self.without_pictures)])

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The towers needed to encode the query."""
        found: list[Tower] = ["text"] if (*self.texts, *self.without_texts) else []
        return (*found, "image") if (*self.pictures, *self.without_pictures) else tuple(found)

    def vector(self, encoder: Encoder, max_pixels: int) -> np.ndarray:
        """The query vector, float32 [1, d] of unit length.

        Raises: InputError if nothing is wanted, a text is empty, a picture is unusable, or what is wanted and
        what is not cancel each other.
        """
        wanted = _vectors(encoder, self.texts, self.pictures, max_pixels)
        if not len(wanted):
            raise InputError(
                'the query is empty: say what to look for, e.g. "red dress" or --picture lamp.jpg'
            )
        if len(wanted) == 1 and not (self.without_texts or self.without_pictures):
            return wanted
        query = wanted.mean(axis=0, keepdims=True)
        if len(unwanted := _vectors(encoder, self.without_texts, self.without_pictures, max_pixels)):
            query = query - np.float32(LESS) * unwanted.mean(axis=0, keepdims=True)
        norm = float(np.linalg.norm(query))
        if norm < 1e-3:
            raise InputError(f"{self}: what is wanted and what isn't cancel each other")
        unit: np.ndarray = query / np.float32(norm)
        return unit


def _vectors(encoder: Encoder, texts: Sequence[str], files: Sequence[Path], max_pixels: int) -> np.ndarray:
    titles = [_title(text) for text in texts]
    pictures = [_picture(path, max_pixels) for path in files]
    found = [encoder.titles(titles)] if titles else []
    found += [encoder.pictures(pictures)] if pictures else []
    return np.concatenate(found) if found else np.empty((0, encoder.width), np.float32)


def _title(text: str) -> str:
    title = normalise_title(text)
    if not title:
        raise InputError(_EMPTY)
    return title


def _picture(path: Path, max_pixels: int) -> Image.Image:
    if not path.is_file():
        raise InputError(f"{path}: there is no such picture")
    try:
        return decode(path.read_bytes()[: MAX_BYTES + 1], max_pixels)
    except BadImage as bad:
        raise InputError(f"{path} can't be used as a picture: {bad.reason}") from bad
