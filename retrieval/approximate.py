"""Search in a Faiss index with a row filter; queries with too few results are answered by exact search."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mmprod.datasets.lazy import lazy
from mmprod.retrieval import exact
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    import faiss
else:
    faiss = lazy("faiss")  # slow to import, needed only to read or write an index

_BLOCK = 8192


def search(
    index: "faiss.Index", queries: np.ndarray, k: int, nprobe: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k allowed rows with the largest inner product, as far as the index finds them.

    queries: float32 (q, d); nprobe: number of lists searched (ignored by an index without lists);
    allowed: bool (ntotal,), None for all rows. With a filter, nprobe is divided by the share of allowed rows,
    so that about as many vectors are compared as without a filter.
    Returns scores float32 (q, c) and rows int64 (q, c), c = min(k, rows allowed), best first, equal scores
    by row number. A query for which the index finds fewer than c rows is answered by exact search.
    """
    width = min(k, index.ntotal if allowed is None else int(allowed.sum()))
    if not width or not len(queries):
        return np.empty((len(queries), width), np.float32), np.empty((len(queries), width), np.int64)
    scores, rows = index.search(queries, width, params=_parameters(index, nprobe, allowed))
    short = (rows < 0).any(axis=1)
    if short.any():
        scores[short], rows[short] = _exactly(index, queries[short], width, allowed)
    order = np.lexsort((rows, -scores))
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _parameters(
    index: "faiss.Index", nprobe: int, allowed: np.ndarray | None
) -> "faiss.SearchParameters | None":
    """Search parameters: Faiss requires the matching class for each layer of the index, outermost first."""
    selector = None if allowed is None else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    share = 1.0 if allowed is None else float(allowed.mean())

    def of(layer: "faiss.Index") -> "faiss.SearchParameters | None":
        if isinstance(layer, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=of(faiss.downcast_index(layer.index)))
        if isinstance(layer, faiss.IndexRefine):
            base = of(faiss.downcast_index(layer.base_index))
            return faiss.IndexRefineSearchParameters(k_factor=layer.k_factor, base_index_params=base)
        if isinstance(layer, faiss.IndexIVF):
            return faiss.SearchParametersIVF(sel=selector, nprobe=_lists(layer, nprobe, share))
        if isinstance(layer, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(sel=selector, efSearch=layer.hnsw.efSearch)
        return None if selector is None else faiss.SearchParameters(sel=selector)

    return of(index)


def _lists(index: "faiss.IndexIVF", nprobe: int, share: float) -> int:
    if not 1 <= nprobe <= index.nlist:
        raise InputError(f"nprobe is {nprobe}, want 1 to {index.nlist} (the lists of this index)")
    return min(int(index.nlist), round(nprobe / share))


def _exactly(
    index: "faiss.Index", queries: np.ndarray, k: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.arange(index.ntotal) if allowed is None else np.flatnonzero(allowed)
    scores, rows = exact.search_blocks(queries, _stored(index, numbers), k)
    return scores, numbers[rows]


def _stored(index: "faiss.Index", rows: np.ndarray) -> Iterator[np.ndarray]:
    """The vectors of these rows as stored in the index, float32 (n_i, d), in blocks."""
    for start in range(0, len(rows), _BLOCK):
        yield index.reconstruct_batch(rows[start : start + _BLOCK])
