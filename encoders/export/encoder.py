"""An exported encoder: raw titles and pictures in, unit vectors out, without torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmprod.datasets.errors import StateError
from mmprod.encoders.export.engine import Engine, load_engine
from mmprod.encoders.export.pixels import Geometry
from mmprod.encoders.export.spec import RAW, Tower
from mmprod.encoders.export.titles import FILE, Tokens

_TOGETHER = 64  # titles of about equal length, or pictures, that go through a tower at once


@dataclass(frozen=True)
class ExportedEncoder:
    """What `mmprod.encoders.clip.Encoder` is, from an engine folder."""

    engine: Engine
    geometry: Geometry
    tokens: Tokens

    @classmethod
    def open(
        cls, folder: Path, device: str = "cpu", threads: int = 0, towers: Sequence[Tower] | None = None
    ) -> "ExportedEncoder":
        """Open a folder, or only some of its towers; every file's sha256 is compared first.

        Raises: StateError, also for a folder that was exported without what raw inputs need.
        """
        engine = load_engine(folder, device, threads, towers)
        if not {RAW, FILE} <= engine.spec.files.keys():
            raise StateError(f"{folder} takes tokens and pixels only: it has no {RAW}; export it again")
        content = json.loads((folder / RAW).read_bytes())
        tokens = Tokens.read(folder, content["clean"], engine.spec.pad)
        return cls(engine, Geometry(**content["pictures"]), tokens)

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

        Titles of about equal length go through the tower together, on no more columns than they need.
        """
        rows, shortest = self.tokens.rows(titles), self.engine.spec.shortest
        vectors = np.empty((len(titles), self.width), np.float32)
        order = np.argsort([len(row) for row in rows], kind="stable")
        for part in _parts(order):
            vectors[part] = self.engine.titles(self.tokens.padded([rows[i] for i in part], shortest))
        return vectors

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures to float32 [n, width] of unit length."""
        vectors = np.empty((len(pictures), self.width), np.float32)
        for part in _parts(np.arange(len(pictures))):
            vectors[part] = self.engine.pictures(np.stack([self.geometry.pixels(pictures[i]) for i in part]))
        return vectors


def _parts(order: np.ndarray) -> list[np.ndarray]:
    return [order[start : start + _TOGETHER] for start in range(0, len(order), _TOGETHER)]
