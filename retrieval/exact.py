"""Exact nearest neighbours by inner product: the reference for approximate search, and search in small sets.

Scores are summed in float64 and rounded to float32. So equal vectors get equal scores, independent of their
position and of block sizes; a float32 matrix product does not guarantee that.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from mmprod.storage.errors import InputError

BASE_BLOCK = 8192
QUERY_BLOCK = 256
_ROW_MASK = 0xFFFFFFFF


def search(
    queries: np.ndarray, base: np.ndarray, k: int, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of `base` with the largest inner product, for each query.

    queries: float (q, d); base: float (n, d); exclude: rows that are never returned. Nothing is normalised.
    Returns scores float32 (q, c) and rows int64 (q, c), c = min(k, rows not excluded), best first,
    equal scores by row number. Memory beyond the inputs does not grow with n.
    Raises InputError for k < 1, different dimensions, NaN or inf.
    """
    return search_blocks(queries, [base], k, exclude)


def search_blocks(
    queries: np.ndarray, blocks: Iterable[np.ndarray], k: int, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `search`, for a base in blocks (n_i, d); rows are numbered consecutively over all blocks."""
    if k < 1:
        raise InputError(f"k is {k}, want 1 or more")
    wide = queries.astype(np.float64)
    best = [np.empty((len(part), 0), np.int64) for part in _parts(wide, QUERY_BLOCK)]
    for rows, piece in _pieces(blocks, exclude):
        if piece.shape[1] != wide.shape[1]:
            raise InputError(f"queries of dimension {wide.shape[1]}, base of dimension {piece.shape[1]}")
        for i, part in enumerate(_parts(wide, QUERY_BLOCK)):
            best[i] = _largest(np.hstack([best[i], _keys(part @ piece.T, rows)]), k)
    return _decode(np.vstack(best) if best else np.empty((0, 0), np.int64))


def _parts(x: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (x[start : start + size] for start in range(0, len(x), size))


def _pieces(
    blocks: Iterable[np.ndarray], exclude: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers and float64 vectors, at most BASE_BLOCK at a time, without excluded rows."""
    start = 0
    for block in blocks:
        for piece in _parts(block, BASE_BLOCK):
            rows = np.arange(start, start + len(piece))
            start += len(piece)
            if exclude is not None:
                kept = ~np.isin(rows, exclude)
                rows, piece = rows[kept], piece[kept]
            yield rows, piece.astype(np.float64)


def _keys(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One int64 sort key for (score, row): larger for a better score and, at equal scores, a smaller row.

    Float32 bit patterns sort like integers once those of negative numbers are flipped.
    """
    narrow = scores.astype(np.float32) + np.float32(0)  # + 0 turns -0.0 into 0.0
    if not np.isfinite(narrow).all():
        raise InputError("NaN or inf in the vectors to search: check them first")
    bits = narrow.view(np.int32)
    ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)
    keys: np.ndarray = (ordered << 32) | (_ROW_MASK - rows)
    return keys


def _largest(keys: np.ndarray, k: int) -> np.ndarray:
    """The k largest keys of each row, descending. Keys are distinct, so the result is unique."""
    if keys.shape[1] > k:
        keys = np.partition(keys, keys.shape[1] - k, axis=1)[:, -k:]
    descending: np.ndarray = np.sort(keys, axis=1)[:, ::-1]
    return descending


def _decode(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ordered = (keys >> 32).astype(np.int32)
    bits = np.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).astype(np.int32)
    return bits.view(np.float32), _ROW_MASK - (keys & _ROW_MASK)
