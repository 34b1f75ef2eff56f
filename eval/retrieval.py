"""Measures of title → picture and picture → title retrieval, computed from vectors.

A query's places are the ranks, from 1, of its relevant candidates among all candidates. Ties count against
the model: a candidate that scores the same as a relevant one ranks before it, so that identical vectors get
the worst figures.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmprod.storage.errors import InputError

Values = dict[str, NDArray[np.float64]]
Places = list[NDArray[np.int64]]

ALL = "all"
_PICTURE, _TITLE = 1, 2  # columns of an identity: item, picture and title numbers
_CHUNK = 256  # queries per block of scores


def places(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> Places:
    """For each query the places of its relevant candidates, ascending; empty if it has none.

    `scores` [q, n], higher is better; `relevant` bool [q, n].
    Raises: InputError for other shapes and for scores that are NaN.
    """
    if scores.shape != relevant.shape or scores.ndim != 2:
        raise InputError(f"scores have shape {scores.shape}, relevance {relevant.shape}: want both [q, n]")
    if np.isnan(scores).any():
        raise InputError(
            f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN: they can't be ranked"
        )
    return [_places(row, mask) for row, mask in zip(scores, relevant, strict=True)]


def _places(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    found, others = np.sort(scores[relevant])[::-1], np.sort(scores[~relevant])
    before = len(others) - np.searchsorted(others, found, side="left")  # irrelevant candidates that score at
    # least as much
    return before + np.arange(1, len(found) + 1)


def recall_at(found: Places, k: int) -> NDArray[np.float64]:
    """R@k of each query: 1 if a relevant candidate is among the best k, else 0.

    This is the R@k of image-text retrieval; trec_eval calls it success at k.
    """
    return np.array([float(len(row) > 0 and row[0] <= k) for row in found])


def average_precision(found: Places) -> NDArray[np.float64]:
    """AP of each query: 1/R Σ_i i / place_i over its R relevant candidates, without a cut-off; 0 if R = 0."""
    return np.array([np.mean(np.arange(1, len(row) + 1) / row) if len(row) else 0.0 for row in found])


def text_to_picture(
    text: NDArray[np.floating],
    image: NDArray[np.floating],
    identity: NDArray[np.int64],
    ks: Sequence[int] = (1, 5, 10),
) -> Values:
    """Figures of finding pictures by titles among N held-out pairs: "R@k" and "mAP", float64 [N] each.

    Every pair's title is a query (a repeated title is several queries). Candidates are the distinct pictures.
    Relevant are the pictures of all pairs that share the query's item, picture or title, including its own.

    Args:
        text, image: float [N, d], row i of pair i; compared by inner product, so pass unit rows for cosine.
        identity: int64 [N, 3], item, picture and title numbers; -1: unknown, equal to nothing.
        ks: the cut-offs of R@k.

    Memory: 256 x N scores, never N x N. Raises: InputError for shapes that do not fit and for NaN.
    """
    return _retrieve(text, image, identity, _PICTURE, ks)


def picture_to_text(
    image: NDArray[np.floating],
    text: NDArray[np.floating],
    identity: NDArray[np.int64],
    ks: Sequence[int] = (1, 5, 10),
) -> Values:
    """As `text_to_picture`, from pictures to the distinct titles: every pair's picture is a query."""
    return _retrieve(image, text, identity, _TITLE, ks)


def means(values: Values, categories: Sequence[str]) -> dict[str, dict[str, float]]:
    """The mean of each figure over all queries ("all") and over those of each category.

    `values`: [N] each; `categories`: the categories of the N queries. Sorted by category after "all".
    Raises: InputError for lengths that differ, for no query, and for a category called "all".
    """
    names = np.array(categories, dtype=object)
    lengths = {name: len(column) for name, column in values.items()}
    if not len(names) or set(lengths.values()) - {len(names)}:
        raise InputError(f"{len(names)} categories for figures of lengths {lengths}: want one for each query")
    if ALL in categories:
        raise InputError(f"a category is called {ALL!r}, which stands for all queries: rename it")
    scopes = {ALL: np.ones(len(names), bool), **{name: names == name for name in sorted(set(categories))}}
    return {
        scope: {name: float(column[mask].mean()) for name, column in values.items()}
        for scope, mask in scopes.items()
    }


def _retrieve(
    queries: NDArray[np.floating],
    candidates: NDArray[np.floating],
    identity: NDArray[np.int64],
    kind: int,
    ks: Sequence[int],
) -> Values:
    if queries.shape != candidates.shape or queries.ndim != 2 or identity.shape != (len(queries), 3):
        raise InputError(
            f"vectors have shapes {queries.shape} and {candidates.shape}, identities {identity.shape}: "
            "want [N, d], [N, d] and [N, 3]"
        )
    first, candidate_of = _distinct(identity[:, kind])
    pool = candidates[first].T
    found: Places = []
    for start in range(0, len(queries), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(queries)))
        query, pair = np.nonzero(_positives(identity, rows))
        relevant = np.zeros((len(rows), len(first)), bool)
        relevant[query, candidate_of[pair]] = True
        found += places(queries[rows] @ pool, relevant)
    return {**{f"R@{k}": recall_at(found, k) for k in ks}, "mAP": average_precision(found)}


def _distinct(numbers: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first row of each distinct number, and each row's index among these; every -1 is distinct."""
    names = np.where(numbers >= 0, numbers, -1 - np.arange(len(numbers)))
    _, first, place = np.unique(names, return_index=True, return_inverse=True)
    return first, place


def _positives(identity: NDArray[np.int64], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """bool [rows, N]: which pairs share an item, a picture or a title with each of `rows`, or are it."""
    same: NDArray[np.bool_] = rows[:, None] == np.arange(len(identity))
    for numbers in identity.T:
        own = numbers[rows, None]
        same |= (own == numbers) & (own >= 0)
    return same
