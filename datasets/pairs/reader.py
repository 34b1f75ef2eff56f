"""Reading the pictures of training pairs directly from the product store, without copying it beforehand."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

from mmprod.datasets.images.images import BadImage, decode
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import StateError


class Look(Protocol):
    """Converts a picture to a model input; see `mmprod.datasets.pairs.augment`."""

    @property
    def draft_size(self) -> int: ...

    def __call__(self, picture: Image.Image, random: np.random.Generator) -> np.ndarray: ...


class PairReader:
    """`reader[epoch, row]` is uint8 [3, s, s]: the picture of row `row` of `pairs`, augmented by `augment`.

    The augmentation depends only on (seed, epoch, product), so neither the number of workers, nor the order,
    nor a resumed run changes a picture. Readers can be pickled: a spawned worker opens the store itself, read
    only, at its first picture. Readers of one store in one process share an open store, which is closed with
    the last reader. LMDB opens a store once a process, so close a writable `Store` before reading.

    `cache_bytes`: memory for decoded pictures, in each process; the first pictures that fit are kept.
    """

    def __init__(
        self, store_path: Path | str, pairs: pa.Table, augment: Look, seed: int, cache_bytes: int = 0
    ) -> None:
        self.path = Path(store_path).resolve()
        self.augment, self.seed = augment, seed
        self._names = pairs["product_id"].combine_chunks()
        self._hashes = pairs["image_hash"].combine_chunks()
        self._room = cache_bytes
        self._cache: dict[bytes, Image.Image] = {}
        self._store: Store | None = None

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, at: tuple[int, int]) -> np.ndarray:
        """The picture of (epoch, row).

        Raises: IndexError; StateError naming the product whose picture is missing or can't be decoded.
        """
        epoch, row = at
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} pairs")
        name: str = self._names[row].as_py()
        picture = self._picture(name, self._hashes[row].as_py())
        return self.augment(picture, _random(self.seed, epoch, name))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_store": None, "_cache": {}, "_room": self._room + _size(self._cache)}

    def _picture(self, name: str, image_hash: bytes) -> Image.Image:
        if image_hash in self._cache:
            return self._cache[image_hash]
        self._store = self._store or Store.open(self.path, read_only=True)
        data = self._store.picture(image_hash)
        if data is None:
            raise StateError(f"{self.path}: the picture of {name!r} is gone; select the pairs anew")
        try:
            picture = decode(data, draft_size=self.augment.draft_size)
        except BadImage as error:
            raise StateError(
                f"the picture of {name!r} can't be decoded: {error}; select the pairs anew"
            ) from error
        self._keep(image_hash, picture)
        return picture

    def _keep(self, image_hash: bytes, picture: Image.Image) -> None:
        if (size := _bytes(picture)) <= self._room:
            self._cache[image_hash] = picture
            self._room -= size


def _random(seed: int, epoch: int, name: str) -> np.random.Generator:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return np.random.default_rng([seed, epoch, number])


def _bytes(picture: Image.Image) -> int:
    """Memory of a decoded picture in bytes: Pillow uses four bytes a pixel."""
    return 4 * picture.width * picture.height


def _size(cache: dict[bytes, Image.Image]) -> int:
    return sum(map(_bytes, cache.values()))
