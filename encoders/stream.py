"""Encoding of changed products to rows of the embedding table; existing vectors are reused."""

from collections import ChainMap, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmprod.datasets.embeddings.plan import OUT_OF_MEMORY, Job
from mmprod.datasets.images.images import MAX_PIXELS
from mmprod.datasets.schemas import embedding_schema
from mmprod.datasets.vectors import to_column
from mmprod.encoders.decode_ahead import decoded_ahead
from mmprod.encoders.encoder import Encoder


@dataclass(frozen=True)
class Encoded:
    """Rows for the embedding table, and how many pictures and titles were encoded for them.

    `decode_seconds`: how long the towers waited for pictures; `tower_seconds`: how long they took.
    """

    rows: pa.RecordBatch
    pictures: int
    titles: int
    cut: int  # titles longer than the model's context window
    profiles_ignored: int  # pictures whose colour profile is broken or of another kind of picture
    decode_seconds: float = 0.0
    tower_seconds: float = 0.0


class _Made(NamedTuple):
    """What a batch added, by hash: float16 [width] vectors, and why pictures have none."""

    images: dict[bytes, np.ndarray]
    texts: dict[bytes, np.ndarray]
    reasons: dict[bytes, str]


def embed(jobs: Sequence[Job], encoder: Encoder, max_pixels: int = MAX_PIXELS) -> Encoded:
    """Encode one batch of jobs; see `embed_all`."""
    return next(embed_all([jobs], encoder, max_pixels))


def embed_all(
    batches: Iterable[Sequence[Job]], encoder: Encoder, max_pixels: int = MAX_PIXELS, window: int = 0
) -> Generator[Encoded]:
    """Encode batches of jobs in order to rows of `embedding_schema`, while later ones are read and decoded.

    Equal pictures and titles are encoded once, also those that one of the `window` batches before had. A
    picture that can't be decoded, or a vector that is not finite, gives a null and a reason; it affects
    neither the rest of the batch nor the product's title. If memory runs out, a batch goes through the towers
    in halves; a picture that does not fit into memory alone gets the reason OUT_OF_MEMORY. Raises:
    MemoryError if that is so for all pictures of a batch.
    """
    recent = deque[_Made](maxlen=window + 1)
    source = decoded_ahead(batches, encoder.geometry, max_pixels, window)
    start = perf_counter()
    try:
        for jobs, pixels, reasons, ignored in source:
            ready = perf_counter()
            made = _Made({}, {}, dict(reasons))
            recent.append(made)
            titles = _new_titles(jobs, ChainMap(*(m.texts for m in recent)))
            tokens = dict(zip(titles, encoder.tokens(list(titles.values())), strict=True))
            _through_towers(pixels, tokens, encoder, made)
            _check_some(pixels.keys() | reasons.keys(), made.reasons)
            known = _Made(*(ChainMap(*maps) for maps in zip(*recent, strict=True)))  # type: ignore[arg-type]
            rows = _rows(jobs, known, encoder)
            cut = encoder.cut(np.stack(list(tokens.values()))) if tokens else 0
            spent = ready - start, perf_counter() - ready
            yield Encoded(rows, len(made.images), len(titles), cut, ignored, *spent)
            start = perf_counter()
    finally:
        source.close()


def _new_titles(jobs: Sequence[Job], known: Mapping[bytes, np.ndarray]) -> dict[bytes, str]:
    """The distinct titles to encode, by hash."""
    wanted = ((j.text_hash, j.title) for j in jobs if j.kept_text is None)
    return {key: title for key, title in wanted if key and title and key not in known}


def _through_towers(
    pixels: Mapping[bytes, np.ndarray], tokens: Mapping[bytes, np.ndarray], encoder: Encoder, made: _Made
) -> None:
    """Add the vectors of pictures and titles to `made`; each kind in halves if memory runs out."""
    for keys, vectors in _halved(list(pixels), lambda some: encoder.of_pixels([pixels[k] for k in some])):
        if vectors is None:
            made.reasons[keys[0]] = OUT_OF_MEMORY
        else:
            made.images.update(zip(keys, vectors.astype(np.float16), strict=True))
    for keys, vectors in _halved(
        list(tokens), lambda some: encoder.of_tokens(np.stack([tokens[k] for k in some]))
    ):
        if vectors is None:
            raise MemoryError("too little to encode a single title")
        made.texts.update(zip(keys, vectors.astype(np.float16), strict=True))


def _halved(
    keys: list[bytes], encode: Callable[[list[bytes]], np.ndarray]
) -> Iterator[tuple[list[bytes], np.ndarray | None]]:
    """Encode all keys at once or, if memory runs out, in halves; None for one that does not fit."""
    if not keys:
        return
    try:
        vectors = encode(keys)
    except MemoryError:
        vectors = None  # leaving the handler frees the memory of the attempt
    if vectors is None and len(keys) > 1:
        middle = len(keys) // 2
        yield from chain(_halved(keys[:middle], encode), _halved(keys[middle:], encode))
    else:
        yield keys, vectors


def _check_some(wanted: set[bytes], reasons: Mapping[bytes, str]) -> None:
    """Raise MemoryError if several pictures were to be encoded and memory was too short for every one."""
    if len(wanted) > 1 and all(reasons.get(key) == OUT_OF_MEMORY for key in wanted):
        raise MemoryError(
            f"too little for any of {len(wanted)} pictures; close other programs, or lower encoder.batch"
        )


def _rows(jobs: Sequence[Job], known: _Made, encoder: Encoder) -> pa.RecordBatch:
    width, own = encoder.width, encoder.backend
    image, has_image = _matrix(width, [_pick(j.kept_image, known.images, j.image_hash) for j in jobs])
    text, has_text = _matrix(width, [_pick(j.kept_text, known.texts, j.text_hash) for j in jobs])
    image_makers = [j.image_backend if j.kept_image is not None else own for j in jobs]
    text_makers = [j.text_backend if j.kept_text is not None else own for j in jobs]
    reasons = [_reason(j, known.reasons, has) for j, has in zip(jobs, has_image, strict=True)]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([job.product_id for job in jobs], pa.string()),
            pa.array([job.image_hash for job in jobs], pa.binary(16)),
            pa.array([job.text_hash for job in jobs], pa.binary(16)),
            to_column(image, has_image),
            to_column(text, has_text),
            pa.array(reasons, pa.string()),
            pa.array([job.live for job in jobs]),
            pa.array(image_makers, pa.string(), mask=~has_image),
            pa.array(text_makers, pa.string(), mask=~has_text),
        ],
        schema=embedding_schema(width),
    )


def _pick(kept: np.ndarray | None, fresh: Mapping[Any, np.ndarray], key: bytes | None) -> np.ndarray | None:
    return kept if kept is not None else fresh.get(key)


def _matrix(width: int, vectors: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Float16 [n, width], and bool [n]: which rows have a vector. One that is not finite is missing."""
    matrix, present = np.zeros((len(vectors), width), np.float16), np.zeros(len(vectors), bool)
    for row, vector in enumerate(vectors):
        if vector is not None and np.isfinite(vector).all():
            matrix[row], present[row] = vector, True
    return matrix, present


def _reason(job: Job, undecodable: Mapping[bytes, str], has_image: bool) -> str | None:
    if has_image:
        return None
    if job.image_hash is None:
        return job.image_reason or "none"
    return undecodable.get(job.image_hash, job.image_reason or "vector_not_finite")
