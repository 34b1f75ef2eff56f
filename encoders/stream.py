"""Embedding a stream of changed products: what can be kept is kept, the rest is encoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod.datasets.images import BadImage, decode
from mmprod.datasets.schemas import embedding_schema
from mmprod.datasets.vectors import to_column
from mmprod.encoders.encoder import Encoder

MAX_PIXELS = 40_000_000


@dataclass(frozen=True)
class Job:
    """A product whose row in the embedding table is due.

    `kept_image` and `kept_text` are float16 [d] vectors already made from the same picture and title;
    where one is given, `picture` or `title` is not looked at.
    """

    product_id: str
    live: bool
    image_hash: bytes | None
    text_hash: bytes | None
    picture: bytes | None = None
    title: str | None = None
    image_reason: str | None = None
    kept_image: np.ndarray | None = None
    kept_text: np.ndarray | None = None


@dataclass(frozen=True)
class Encoded:
    """Rows for the embedding table and how many pictures and titles went through the towers for them."""

    rows: pa.RecordBatch
    pictures: int
    titles: int
    cut: int  # titles longer than the model's context window


def embed(jobs: Sequence[Job], encoder: Encoder, max_pixels: int = MAX_PIXELS) -> Encoded:
    """Encode what the jobs need, equal pictures and equal titles once, into rows of `embedding_schema`.

    A picture that can't be decoded, or a vector that is not finite, leaves a null and its reason; it stops
    neither the batch nor the product's other modality.
    """
    pictures, reasons = _decode(jobs, max_pixels)
    titles = {j.text_hash: j.title for j in jobs if j.title and j.text_hash and j.kept_text is None}
    images = dict(zip(pictures, encoder.pictures(list(pictures.values())), strict=True))
    texts = dict(zip(titles, encoder.titles([t or "" for t in titles.values()]), strict=True))
    image, has_image = _matrix(jobs, encoder.width, lambda job: _pick(job.kept_image, images, job.image_hash))
    text, has_text = _matrix(jobs, encoder.width, lambda job: _pick(job.kept_text, texts, job.text_hash))
    rows = pa.RecordBatch.from_arrays(
        [
            pa.array([job.product_id for job in jobs], pa.string()),
            pa.array([job.image_hash for job in jobs], pa.binary(16)),
            pa.array([job.text_hash for job in jobs], pa.binary(16)),
            to_column(image, has_image),
            to_column(text, has_text),
            pa.array([_reason(j, reasons, has) for j, has in zip(jobs, has_image, strict=True)], pa.string()),
            pa.array([job.live for job in jobs]),
        ],
        schema=embedding_schema(encoder.width),
    )
    return Encoded(rows, len(pictures), len(titles), encoder.cut([t or "" for t in titles.values()]))


def _decode(jobs: Sequence[Job], max_pixels: int) -> tuple[dict[bytes, Any], dict[bytes, str]]:
    pictures: dict[bytes, Any] = {}
    reasons: dict[bytes, str] = {}
    for job in jobs:
        key = job.image_hash
        if (
            job.picture is None
            or key is None
            or job.kept_image is not None
            or key in pictures
            or key in reasons
        ):
            continue
        try:
            pictures[key] = decode(job.picture, max_pixels)
        except BadImage as bad:
            reasons[key] = bad.reason
    return pictures, reasons


def _pick(kept: np.ndarray | None, fresh: dict[Any, np.ndarray], key: bytes | None) -> np.ndarray | None:
    return kept if kept is not None else fresh.get(key)


def _matrix(
    jobs: Sequence[Job], width: int, vector_of: Callable[[Job], np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors as [n, width] and which rows have one; a vector that is not finite counts as none."""
    matrix, present = np.zeros((len(jobs), width), np.float32), np.zeros(len(jobs), bool)
    for row, job in enumerate(jobs):
        vector = vector_of(job)
        if vector is not None and np.isfinite(vector).all():
            matrix[row], present[row] = vector, True
    return matrix, present


def _reason(job: Job, undecodable: dict[bytes, str], has_image: bool) -> str | None:
    if has_image:
        return None
    if job.image_hash is None:
        return job.image_reason or "none"
    return undecodable.get(job.image_hash, job.image_reason or "vector_not_finite")
