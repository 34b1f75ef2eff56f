"""The recall table: the nearest neighbours of every product."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from mmprod.datasets.schemas import RECALL
from mmprod.retrieval import approximate
from mmprod.retrieval.generation import MAX_K, Generation
from mmprod.storage.errors import InputError
from mmprod.storage.faults import fault


def neighbours(generation: Generation, k: int, block: int = 1024) -> Iterator[pa.RecordBatch]:
    """The k nearest neighbours of every product, as batches of schema RECALL, `block` anchors each.

    Anchors are ordered by row, their neighbours by score, equal scores by row. The anchor itself is excluded
    by its row number, so another product with an equal vector stays. With n products each has min(k, n - 1)
    neighbours; score = w_img * image_score + w_txt * text_score, where null counts as 0 (for half-width
    vectors both are null and score is the inner product).
    Raises InputError for k outside 1 … 10,000.
    """
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}, want 1 to {MAX_K}")
    return _batches(generation, k, block)


def _batches(generation: Generation, k: int, block: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(generation), block):
        anchors = np.arange(start, min(start + block, len(generation)))
        vectors = generation.vectors(anchors)
        scores, rows = approximate.search(generation.index, vectors, k + 1, generation.build.nprobe)
        scores, rows = _without_self(anchors, scores, rows)
        yield _batch(generation, anchors, scores, rows, generation.component_scores(vectors, rows))
        fault("recall.batch")  # the caller has written the batch by now


def _without_self(anchors: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the anchor from its hits; if equal vectors displaced it, drop the last hit instead: (a, c - 1)."""
    keep = rows != anchors[:, None]
    keep[keep.all(axis=1), -1] = False
    shape = (len(rows), rows.shape[1] - 1)
    return scores[keep].reshape(shape), rows[keep].reshape(shape)


def _batch(
    generation: Generation,
    anchors: np.ndarray,
    scores: np.ndarray,
    rows: np.ndarray,
    components: tuple[np.ndarray, np.ndarray],
) -> pa.RecordBatch:
    image, text = components
    w_img, w_txt = generation.build.weights
    known = ~(np.isnan(image) & np.isnan(text))
    exact = w_img * np.nan_to_num(image.astype(np.float64)) + w_txt * np.nan_to_num(text)
    scores = np.where(known, exact, scores).astype(np.float32)
    order = np.lexsort((rows, -scores))
    scores, rows, image, text = (np.take_along_axis(x, order, 1).ravel() for x in (scores, rows, image, text))
    return pa.record_batch(
        [
            generation.ids.take(pa.array(np.repeat(anchors, order.shape[1]))),
            generation.ids.take(pa.array(rows)),
            pa.array(np.tile(np.arange(1, order.shape[1] + 1, dtype=np.int32), len(anchors))),
            pa.array(scores),
            pa.array(image, mask=np.isnan(image)),
            pa.array(text, mask=np.isnan(text)),
        ],
        schema=RECALL,
    )
