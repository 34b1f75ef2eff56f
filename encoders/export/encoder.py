"""An exported encoder: raw titles and pictures in, unit vectors out, without torch."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmprod.datasets.forms import FORMS
from mmprod.encoders.export.engine import Engine, load_engine
from mmprod.encoders.export.pixels import Geometry
from mmprod.encoders.export.spec import RAW, Tower
from mmprod.encoders.export.titles import FILE, Tokens
from mmprod.encoders.shapes import Batch, fixed
from mmprod.storage.errors import StateError

_BEFORE = {"title": "nfkc-1", "picture": "as stored"}
"""The forms of engines that don't tell."""
Batches = Callable[[Sequence[int], int], Iterator[Batch]]
"""How inputs of some lengths, for a tower that takes so many tokens, go through it together."""


@dataclass(frozen=True)
class ExportedEncoder:
    """What `mmprod.encoders.clip.Encoder` is, from an engine folder."""

    engine: Engine
    geometry: Geometry
    tokens: Tokens
    batches: Batches = fixed

    @classmethod
    def open(
        cls,
        folder: Path,
        device: str = "cpu",
        threads: int = 0,
        towers: Sequence[Tower] | None = None,
        batches: Batches = fixed,
    ) -> "ExportedEncoder":
        """Open a folder, or only some of its towers; every file's sha256 is compared first.

        `batches`: `fixed`, so that a vector doesn't depend on what is encoded with it, or `free`, where an
        answer is waited for and compared with none.
        Raises: StateError, also for a folder that was exported without what raw inputs need, or for other
        normal forms of them than this version makes.
        """
        engine = load_engine(folder, device, threads, towers)
        if not {RAW, FILE} <= engine.spec.files.keys():
            raise StateError(f"{folder} takes tokens and pixels only: it has no {RAW}; export it again")
        content = json.loads((folder / RAW).read_bytes())
        _check_forms(folder, content.get("forms", {}), towers or engine.spec.towers)
        tokens = Tokens.read(folder, content["clean"], engine.spec.pad)
        return cls(engine, Geometry(**content["pictures"]), tokens, batches)

    @property
    def fingerprint(self) -> str:
        """Of the encoder that the engine was exported from."""
        return self.engine.spec.encoder

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return self.engine.spec.width

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles in normal form to float32 [n, width] of unit length.

        Titles of about equal length go through the tower together, on few more columns than they need.
        """
        rows, spec = self.tokens.rows(titles), self.engine.spec
        vectors = np.empty((len(titles), self.width), np.float32)
        for batch in self.batches([max(spec.shortest, len(row)) for row in rows], spec.longest):
            tokens = self.tokens.padded([rows[i] for i in batch.rows], batch.columns)
            vectors[batch.rows] = self.engine.titles(tokens[batch.filling])[: len(batch.rows)]
        return vectors

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures to float32 [n, width] of unit length."""
        return self._images(len(pictures), lambda row: self.pixels(pictures[row]))

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture as the image tower takes it: uint8 [3, height, width]."""
        return self.geometry.pixels(picture)

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """What `pictures` gives for the pictures that these were made of by `pixels`."""
        return self._images(len(pixels), pixels.__getitem__)

    def _images(self, count: int, pixels: Callable[[int], np.ndarray]) -> np.ndarray:
        vectors = np.empty((count, self.width), np.float32)
        for batch in self.batches([0] * count, 0):
            some = np.stack([pixels(row) for row in batch.rows])
            vectors[batch.rows] = self.engine.pictures(some[batch.filling])[: len(batch.rows)]
        return vectors

    def cut(self, titles: Sequence[str]) -> int:
        """How many titles leave at most one token of the context window free: what follows is not seen."""
        if not titles:
            return 0
        spec = self.engine.spec
        tokens = self.tokens.padded(self.tokens.rows(titles), spec.longest)
        return int((tokens[:, -2] != spec.pad).sum())


def _check_forms(folder: Path, forms: Mapping[str, str], towers: Sequence[Tower]) -> None:
    for tower, kind in (("text", "title"), ("image", "picture")):
        made = forms.get(kind, _BEFORE[kind])
        if tower in towers and made != FORMS[kind]:
            raise StateError(
                f"{folder} was exported for {kind}s in the form {made}, this version makes {FORMS[kind]};"
                " run `mmprod embed` and export it again"
            )
