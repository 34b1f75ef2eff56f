"""Encoding of changed products to rows of the embedding table; existing vectors are reused."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmprod.datasets.embeddings.plan import OUT_OF_MEMORY, Job
from mmprod.datasets.images.images import MAX_PIXELS, PROFILE_IGNORED, BadImage, decode
from mmprod.datasets.schemas import embedding_schema
from mmprod.datasets.vectors import to_column
from mmprod.encoders.encoder import Encoder


@dataclass(frozen=True)
class Encoded:
    """Rows for the embedding table, and how many pictures and titles were encoded for them."""

    rows: pa.RecordBatch
    pictures: int
    titles: int
    cut: int  # titles longer than the model's context window
    profiles_ignored: int  # pictures whose colour profile is broken or of another kind of picture


class _Decoded(NamedTuple):
    """The tower's inputs of decoded pictures, and the reasons of those that failed, by hash."""

    pixels: dict[bytes, np.ndarray]
    reasons: dict[bytes, str]
    profiles_ignored: int


def embed(jobs: Sequence[Job], encoder: Encoder, max_pixels: int = MAX_PIXELS) -> Encoded:
    """Encode the pictures and titles of the jobs, equal ones once, to rows of `embedding_schema`.

    A picture that can't be decoded, or a vector that is not finite, gives a null and a reason; it affects
    neither the rest of the batch nor the product's title. Pictures are decoded one at a time, and only the
    tower's inputs are kept in memory. If memory runs out, the jobs are retried in halves; a picture that does
    not fit into memory alone gets the reason OUT_OF_MEMORY. Raises: MemoryError if that is so for all.
    """
    parts = list(_halved(jobs, encoder, max_pixels))
    rows = pa.concat_batches([part.rows for part in parts])
    _check_some(jobs, rows)
    counts = ((part.pictures, part.titles, part.cut, part.profiles_ignored) for part in parts)
    return Encoded(rows, *map(sum, zip(*counts, strict=True)))


def _halved(jobs: Sequence[Job], encoder: Encoder, max_pixels: int) -> Iterator[Encoded]:
    """Encode the jobs at once or, if memory runs out, in halves recursively."""
    try:
        done = _embed(jobs, encoder, max_pixels)
    except MemoryError:
        done = None  # leaving the handler frees the memory of the attempt
    if done:
        yield done
    elif len(jobs) > 1:
        middle = len(jobs) // 2
        yield from _halved(jobs[:middle], encoder, max_pixels)
        yield from _halved(jobs[middle:], encoder, max_pixels)
    else:
        yield _embed([replace(jobs[0], picture=None, image_reason=OUT_OF_MEMORY)], encoder, max_pixels)


def _check_some(jobs: Sequence[Job], rows: pa.RecordBatch) -> None:
    """Raise MemoryError if several pictures were to be encoded and memory was too short for every one."""
    wanted = {job.image_hash for job in jobs if job.picture is not None and job.kept_image is None}
    named = zip(rows["image_hash"].to_pylist(), rows["image_reason"].to_pylist(), strict=True)
    if len(wanted) > 1 and wanted <= {key for key, reason in named if reason == OUT_OF_MEMORY}:
        raise MemoryError(
            f"too little for any of {len(wanted)} pictures; close other programs, or lower encoder.batch"
        )


def _embed(jobs: Sequence[Job], encoder: Encoder, max_pixels: int) -> Encoded:
    pixels, reasons, ignored = _decode(jobs, encoder, max_pixels)
    titles = {j.text_hash: j.title for j in jobs if j.title and j.text_hash and j.kept_text is None}
    images = dict(zip(pixels, encoder.of_pixels(list(pixels.values())), strict=True))
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
    cut = encoder.cut([t or "" for t in titles.values()])
    return Encoded(rows, len(pixels), len(titles), cut, ignored)


def _decode(jobs: Sequence[Job], encoder: Encoder, max_pixels: int) -> _Decoded:
    pixels, reasons, ignored = dict[bytes, np.ndarray](), dict[bytes, str](), 0
    for job in jobs:
        key, given = job.image_hash, job.picture
        if given is None or key is None or job.kept_image is not None or key in pixels or key in reasons:
            continue
        try:
            if (data := given() if callable(given) else given) is not None:
                pixels[key], passed_over = _pixels(data, encoder, max_pixels)
                ignored += passed_over
        except BadImage as bad:
            reasons[key] = bad.reason
        except MemoryError:
            reasons[key] = OUT_OF_MEMORY
    return _Decoded(pixels, reasons, ignored)


def _pixels(data: bytes, encoder: Encoder, max_pixels: int) -> tuple[np.ndarray, bool]:
    """The tower's input of a picture, and whether its colour profile was ignored."""
    picture = decode(data, max_pixels)  # freed before the next one is decoded
    return encoder.pixels(picture), PROFILE_IGNORED in picture.info


def _pick(kept: np.ndarray | None, fresh: dict[Any, np.ndarray], key: bytes | None) -> np.ndarray | None:
    return kept if kept is not None else fresh.get(key)


def _matrix(
    jobs: Sequence[Job], width: int, vector_of: Callable[[Job], np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [n, width], and bool [n]: which rows have one. A vector that is not finite is missing."""
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
