"""Random catalogues as fused vectors with their items, and generations written to disk and opened."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import ITEM
from mmprod.retrieval import folder, index
from mmprod.retrieval.generation import Generation

CATEGORIES = ["Home > Lighting > Lamps", "Home > Lighting", "Homeware", "Sport > Balls", ""]


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class Catalogue:
    """n products: image and text vectors (n, width), fused by weights; some lack one, some repeat another."""

    def __init__(self, n: int, weights: tuple[float, float], width: int = 16, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.weights, self.width = weights, width
        self.image, self.text = unit(rng, (n, width)), unit(rng, (n, width))
        lacking = rng.random(n)
        self.image[lacking < 0.1], self.text[lacking > 0.9] = 0, 0
        copies = rng.choice(n, max(2, n // 20) * 2, replace=False).reshape(2, -1)
        self.image[copies[0]], self.text[copies[0]] = self.image[copies[1]], self.text[copies[1]]
        halves = [np.sqrt(w) * x for w, x in zip(weights, (self.image, self.text), strict=True) if w]
        self.known = np.hstack(halves).any(axis=1)  # products without evidence under these weights stay out
        self.image, self.text = self.image[self.known], self.text[self.known]
        self.fused = np.hstack(halves)[self.known].astype(np.float16).astype(np.float32)
        self.items = pa.table(
            {
                "product_id": [f"p{i:05}" for i in range(len(self.fused))],
                "category": [CATEGORIES[i % len(CATEGORIES)] for i in range(len(self.fused))],
                "has_image": self.image.any(axis=1),
                "has_text": self.text.any(axis=1),
            },
            schema=ITEM,
        )

    def build(self, **changes: object) -> folder.Build:
        known = {
            "profile": "same_item",
            "weights": self.weights,
            "encoder": "encoder-a",
            "dim": self.fused.shape[1],
            "width": self.width,
            "factory": "Flat",
            "nprobe": 1,
            "count": len(self.fused),
        }
        return folder.Build(**(known | changes))  # type: ignore[arg-type]

    def save(self, path: Path, factory: str = "Flat", nprobe: int = 1) -> Path:
        made = index.build([self.fused], self.fused.shape[1], len(self.fused), factory)
        path.mkdir()
        folder.save(path, made, self.items, self.build(factory=factory, nprobe=nprobe))
        return path


@pytest.fixture
def catalogue() -> Callable[..., Catalogue]:
    return Catalogue


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., tuple[Catalogue, Generation]]:
    def make(
        n: int = 400,
        weights: tuple[float, float] = (0.5, 0.5),
        factory: str = "Flat",
        nprobe: int = 1,
        seed: int = 0,
    ) -> tuple[Catalogue, Generation]:
        made = Catalogue(n, weights, seed=seed)
        return made, Generation.open(made.save(tmp_path / "generation", factory, nprobe))

    return make
