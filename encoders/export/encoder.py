"""An encoder that runs an exported engine: titles and pictures to unit vectors, without torch."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmprod.datasets.forms import FORMS
from mmprod.datasets.images.geometry import Geometry
from mmprod.encoders.export.engine import Engine, load_engine
from mmprod.encoders.export.spec import RAW, Tower
from mmprod.encoders.export.titles import FILE, Tokens
from mmprod.encoders.shapes import Batch, fixed
from mmprod.storage.errors import StateError

_BEFORE = {"title": "nfkc-1", "picture": "as stored"}
"""The normal forms of engines that don't record them."""
Batches = Callable[[Sequence[int], int], Iterator[Batch]]
"""Groups inputs into batches, from their lengths and the largest length of the tower."""


@dataclass(frozen=True)
class ExportedEncoder:
    """The counterpart of `mmprod.encoders.clip.Encoder` for an engine folder."""

    engine: Engine
    geometry: Geometry
    tokenizer: Tokens
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
        """Open a folder, or only some of its towers; every file's sha256 is verified first.

        `batches`: with `fixed`, a vector does not depend on the other inputs of its batch; `free` is for
        online use, where latency matters more.
        Raises: StateError for damaged files, for a folder without the files that raw inputs need, and for
        normal forms other than this version's.
        """
        engine = load_engine(folder, device, threads, towers)
        if not {RAW, FILE} <= engine.spec.files.keys():
            raise StateError(f"{folder} takes tokens and pixels only: it has no {RAW}; export it again")
        content = json.loads((folder / RAW).read_bytes())
        _check_forms(folder, content.get("forms", {}), towers or engine.spec.towers)
        tokenizer = Tokens.read(folder, content["clean"], engine.spec.pad)
        return cls(engine, Geometry(**content["pictures"]), tokenizer, batches)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the encoder that the engine was exported from."""
        return self.engine.spec.encoder

    @property
    def width(self) -> int:
        """Dimension of the vectors."""
        return self.engine.spec.width

    @property
    def backend(self) -> str:
        """The runtime in use and the precision, such as "onnx-fp32"."""
        return f"{self.engine.runs_on}-{self.engine.spec.precision}"

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Encode titles in normal form: float32 [n, width] of unit length.

        Titles of about equal length share a batch, so that little padding is computed.
        """
        return self.of_tokens(self.tokens(titles))

    def tokens(self, titles: Sequence[str]) -> np.ndarray:
        """The text tower's input for titles in normal form: int64 [n, context length], padded."""
        rows = self.tokenizer.rows(titles) if titles else []
        return self.tokenizer.padded(rows, self.engine.spec.longest)

    def of_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """As `titles`, for tokens as `tokens` makes them."""
        spec, vectors = self.engine.spec, np.empty((len(tokens), self.width), np.float32)
        used = ((tokens != spec.pad) * np.arange(1, spec.longest + 1)).max(axis=1, initial=spec.shortest)
        for batch in self.batches(used.tolist(), spec.longest):
            some = tokens[batch.rows, : batch.columns]
            vectors[batch.rows] = self.engine.titles(some[batch.filling])[: len(batch.rows)]
        return vectors

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Encode RGB pictures: float32 [n, width] of unit length."""
        return self._images(len(pictures), lambda row: self.geometry.pixels(pictures[row]))

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """As `pictures`, for pixels as `geometry` makes them: uint8 [3, height, width] each."""
        return self._images(len(pixels), pixels.__getitem__)

    def _images(self, count: int, pixels: Callable[[int], np.ndarray]) -> np.ndarray:
        vectors = np.empty((count, self.width), np.float32)
        for batch in self.batches([0] * count, 0):
            some = np.stack([pixels(row) for row in batch.rows])
            vectors[batch.rows] = self.engine.pictures(some[batch.filling])[: len(batch.rows)]
        return vectors

    def cut(self, tokens: np.ndarray) -> int:
        """Number of titles that fill the context window up to at most one token, so they may be truncated."""
        return int((tokens[:, -2] != self.engine.spec.pad).sum())


def _check_forms(folder: Path, forms: Mapping[str, str], towers: Sequence[Tower]) -> None:
    for tower, kind in (("text", "title"), ("image", "picture")):
        made = forms.get(kind, _BEFORE[kind])
        if tower in towers and made != FORMS[kind]:
            raise StateError(
                f"{folder} was exported for {kind}s in the form {made}, this version makes {FORMS[kind]};"
                " run `mmprod embed` and export it again"
            )
