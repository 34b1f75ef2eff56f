"""Evaluation during training, on held-out pairs: retrieval, same item, captions."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod.datasets.images.images import decode
from mmprod.datasets.images.shrink import shrink
from mmprod.datasets.pairs.pairs import identity
from mmprod.datasets.store.store import Store
from mmprod.encoders.blip.caption import Style, caption_pictures
from mmprod.encoders.clip import Encoder
from mmprod.encoders.training.options import Task
from mmprod.encoders.training.trainer import Evaluator, Scalars
from mmprod.eval.captions import bleu, rouge_l
from mmprod.eval.retrieval import means, text_to_picture
from mmprod.stages.training.compare import WEIGHTINGS
from mmprod.storage.errors import InputError

METRICS: Mapping[Task, str] = {"retrieval": "mAP", "same-item": "1:1 R@1", "caption": "ROUGE-L"}
"""The measure by which the best model of a task is chosen."""
_BATCH, _CAPTIONS = 64, 128


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are never trained on: encoded pictures as stored, titles, identities, categories."""

    pictures: list[bytes]
    titles: list[str]
    identity: np.ndarray  # int64 [n, 3]
    categories: list[str]

    @classmethod
    def read(cls, store_path: Path, pairs: pa.Table, at_most: int) -> "HeldOut":
        """The pairs of a `PAIR` table, thinned to `at_most`. Raises: InputError if there are fewer than 2."""
        if len(pairs) < 2:
            raise InputError(
                f"{len(pairs)} held-out pairs are too few for evaluation; raise pairs.held_out or select more"
            )
        some = pairs.take(spread(len(pairs), at_most))
        with Store.open(store_path, read_only=True) as store:
            pictures = [store.picture(key) or b"" for key in some["image_hash"].to_pylist()]
        levels = [" > ".join(path.split(" > ")[:2]) for path in some["category"].to_pylist()]
        return cls(pictures, some["title"].to_pylist(), identity(some), levels)

    def thinned(self, at_most: int) -> "HeldOut":
        """At most `at_most` of the pairs, evenly spread."""
        rows = spread(len(self), at_most)
        pictures, titles, levels = (
            [of[row] for row in rows] for of in (self.pictures, self.titles, self.categories)
        )
        return HeldOut(pictures, titles, self.identity[rows], levels)

    def __len__(self) -> int:
        return len(self.titles)

    def images(self, encoder: Encoder) -> np.ndarray:
        """Unit vectors float32 [n, d] of the pictures, decoded one at a time."""
        parts = [
            encoder.of_pixels(
                [shrink(data, encoder.geometry).pixels for data in self.pictures[start : start + _BATCH]]
            )
            for start in range(0, len(self), _BATCH)
        ]
        return np.concatenate(parts)

    def captions(self, encoder: Encoder, rows: np.ndarray) -> list[str]:
        """Beam-search captions of the pictures of `rows`. Raises: InputError if the encoder can't caption."""
        written: list[str] = []
        for part in np.array_split(rows, math.ceil(len(rows) / _BATCH)):
            pictures = [decode(self.pictures[row]) for row in part]
            written += [made.text for made in caption_pictures(encoder, pictures, Style())]
        return written


def spread(number: int, at_most: int) -> np.ndarray:
    """At most `at_most` of the rows 0 to `number` - 1, evenly spread: int64, ascending."""
    return np.unique(np.linspace(0, number - 1, min(at_most, number)).astype(int))


def evaluator_of(task: Task, held_out: HeldOut, encoder_of: Callable[[Any], Encoder]) -> Evaluator:
    """The function that evaluates a model at a task; `encoder_of` wraps a model as an encoder."""
    evaluators = {"retrieval": retrieval, "same-item": same_item, "caption": captions}
    return lambda model: evaluators[task](held_out, encoder_of(model))


def retrieval(held_out: HeldOut, encoder: Encoder) -> Scalars:
    """Title → picture: R@1, R@5, R@10 and mAP over all pairs, and mAP by category ("mAP Home > Lamps")."""
    found = text_to_picture(encoder.titles(held_out.titles), held_out.images(encoder), held_out.identity)
    by_scope = means(found, held_out.categories)
    overall = by_scope.pop("all")
    return overall | {f"mAP {scope}": figures["mAP"] for scope, figures in by_scope.items() if scope}


def same_item(held_out: HeldOut, encoder: Encoder) -> Scalars:
    """R@1 of another listing of the same item, by weights; items with one listing are not queried."""
    items = held_out.identity[:, 0]
    listed = np.unique(items[items >= 0], return_counts=True)
    asked = np.flatnonzero(np.isin(items, listed[0][listed[1] > 1]))
    if not len(asked):
        raise InputError(
            "no held-out item is listed twice: --task same-item needs listings that share a spu_id"
        )
    image, text = held_out.images(encoder), encoder.titles(held_out.titles)
    found = {}
    for name, (w_image, w_text) in WEIGHTINGS.items():
        scores = w_image * image[asked] @ image.T + w_text * text[asked] @ text.T
        scores[np.arange(len(asked)), asked] = -np.inf
        found[f"{name} R@1"] = float((items[scores.argmax(axis=1)] == items[asked]).mean())
    return found


def captions(held_out: HeldOut, encoder: Encoder) -> Scalars:
    """BLEU-4 and ROUGE-L, 0 to 100, of beam-search captions against titles, on up to 128 pictures."""
    rows = spread(len(held_out), _CAPTIONS)
    written = held_out.captions(encoder, rows)
    wanted = [[held_out.titles[row]] for row in rows]
    return {"BLEU": bleu(written, wanted), "ROUGE-L": rouge_l(written, wanted)}
