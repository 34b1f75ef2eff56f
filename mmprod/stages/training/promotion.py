"""A candidate encoder: comparing it with the one in use, and replacing that one by it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmprod.datasets.images.images import BadImage, decode
from mmprod.datasets.images.shrink import shrink
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.lake import Lake
from mmprod.retrieval import exact
from mmprod.retrieval.fusion import fuse
from mmprod.sections import Config
from mmprod.stages.daily.embed import bring_up
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.stages.products import sample_of
from mmprod.stages.publish import reuse_or_publish
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError

_BATCH = 64
_NEAR = 10


@dataclass(frozen=True)
class Standing:
    """An encoder's scores on a sample: how often a title finds its own picture first, or among ten."""

    encoder: str  # fingerprint
    recall_1: float
    recall_10: float


@dataclass(frozen=True)
class Comparison:
    """Two encoders on the same products; `overlap`: mean share of equal ones among ten 1:1 neighbours."""

    products: int
    current: Standing
    candidate: Standing
    overlap: float


def compare_encoders(
    config: Config, store: Store, current: Encoder, candidate: Encoder, number: int, advance: Advance
) -> Comparison:
    """Embed a sample of the live products with both encoders, without changing the lake, and compare.

    The sample is always the same: the products with the lowest hashes of their ids. Raises: InputError if
    fewer than two of them have a title and a picture that can be decoded.
    """
    pictures, titles = _inputs(config, store, number)
    if len(titles) < 2:
        raise InputError(f"{len(titles)} products with title and picture are too few to compare encoders on")
    standings, near = [], []
    for encoder in (current, candidate):
        image, text = _images(encoder, pictures, advance), encoder.titles(titles)
        _, rows = exact.search(text, image, _NEAR)
        own = rows == np.arange(len(titles))[:, None]
        standings.append(Standing(encoder.fingerprint, float(own[:, 0].mean()), float(own.any(1).mean())))
        near.append(_neighbours(fuse(image, text, (0.5, 0.5))))
    shared = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(*near, strict=True)]
    return Comparison(len(titles), standings[0], standings[1], float(np.mean(shared)))


def _inputs(config: Config, store: Store, number: int) -> tuple[list[bytes], list[str]]:
    """The decodable pictures of the sample, as stored, and their titles."""
    pictures, titles = [], []
    for record in sample_of(store, number):
        data = store.picture(record.image_hash)
        if not (record.title and data):
            continue
        try:
            decode(data, config.images.max_pixels)
        except BadImage:
            continue
        pictures.append(data)
        titles.append(record.title)
    return pictures, titles


def _images(encoder: Encoder, pictures: Sequence[bytes], advance: Advance) -> np.ndarray:
    parts = []
    for start in range(0, len(pictures), _BATCH):
        some = pictures[start : start + _BATCH]
        parts.append(encoder.of_pixels([shrink(data, encoder.geometry).pixels for data in some]))
        advance(len(some))
    return np.concatenate(parts)


def _neighbours(vectors: np.ndarray) -> list[np.ndarray]:
    _, rows = exact.search(vectors, vectors, _NEAR + 1)
    return [line[line != row][:_NEAR] for row, line in enumerate(rows)]


def promote_encoder(
    lake: Lake, config: Config, store: Store, candidate: str, progress: Progress = no_progress
) -> list[Outcome]:
    """Publish the lake's encoder `candidate` as a new generation of the configured one and switch to it.

    First its embedding table is brought up to date with the store, so that the next stage finds all vectors;
    that is quick if most were made before (`bring_up` with `candidate`). Indexes and searches continue with
    the encoder generation they were built with until the indexes are rebuilt, so what is served does not
    change here. `artifacts.rollback` reverts the switch. Raises: InputError if the configured encoder is not
    of the lake, or is the candidate itself.
    """
    source, target = lake.succession(config.encoder.model, candidate)
    embedded = bring_up(lake, config, store, progress, candidate=candidate)
    return [embedded, _switch(source, target, candidate)]


def _switch(source: Path, target: Path, candidate: str) -> Outcome:
    with timed("promote") as outcome, artifacts.opened(source) as opened:
        counts = opened.manifest.counts
        inputs = {"candidate": candidate, "fingerprint": counts["fingerprint"]}
        outcome.rows = 1
        with reuse_or_publish(outcome, target, "encoder", inputs, {}) as draft:
            for name in () if draft.reused else opened.manifest.files:
                (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(opened.path / name, draft.path / name)
            draft.counts |= counts
        outcome.detail = {"generation": draft.generation, "fingerprint": counts["fingerprint"]}
    return outcome
