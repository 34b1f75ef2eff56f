"""Ranked measures of lists in which every product counts as the same or not: trec_eval's numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmprod.eval.estimate import Floats, Ints, totals
from mmprod.eval.figures.judged import UNJUDGED, Judged, Lists


@dataclass(frozen=True)
class Counted:
    """A measure by anchor of the survey, as a fraction; float64[anchors] and bool[anchors].

    `size` is how much the anchor counts beside its weight, 0 where the measure says nothing of it;
    `valid` whether enough is judged; `exact` whether everything is, so that nothing was estimated.
    `within` is float64[anchors, 3] and `unknown` float64[anchors], see `estimate.mean`; None where the
    variance that drawing pairs adds isn't known apart.
    """

    above: Floats
    below: Floats
    size: Floats
    valid: NDArray[np.bool_]
    exact: NDArray[np.bool_]
    within: Floats | None = None
    unknown: Floats | None = None


def counted(judged: Judged, lists: Lists, name: str, k: int, condensed: bool) -> Counted:
    """`name` at `k` with the unjudged products taken out of the list (condensed) or as not the same."""
    pool, anchors = judged.pool, len(judged.frame.ids)
    known = lists.verdict != UNJUDGED if condensed else np.full(len(lists.rank), True)
    anchor, same = lists.anchor[known], lists.verdict[known] == 1
    rank = 1 + np.arange(len(anchor)) - np.searchsorted(anchor, anchor)
    hits = totals(anchor, same & (rank <= k), anchors)
    relevant = totals(pool.anchor, pool.verdict == 1, anchors).astype(np.float64)
    ones = np.ones(anchors)
    if name == "precision":
        above, below = hits, totals(anchor, rank <= k, anchors)
        size = below
    elif name == "P":
        short = np.maximum(k - np.bincount(lists.anchor, minlength=anchors), 0)
        below = np.minimum(k, np.bincount(anchor, minlength=anchors) + short).astype(np.float64)
        above, size = hits, np.minimum(below, 1)
    elif name == "Success":
        above, below, size = np.minimum(hits, 1), ones, ones
    elif name == "R":
        above, below, size = hits, relevant, np.minimum(relevant, 1)
    else:
        above, below, size = _precisions(anchor, rank, same, k, anchors), relevant, ones
    answered = totals(pool.anchor, pool.verdict != UNJUDGED, anchors) > 0
    whole = unfinished(judged, k if name in ("P", "Success") else judged.depth, None) == 0
    return Counted(above, below, size, answered | ~judged.listed, whole)


def unfinished(judged: Judged, k: int, least: int | None) -> Ints:
    """int64[anchors]: rank bands that begin by rank `k` and have too few verdicts.

    Too few is less than all that were pooled, or less than `least` of them where that is given.
    """
    pool = judged.pool
    wanted = pool.size if least is None else np.minimum(pool.size, least)
    lacking = (pool.judged < wanted) & (pool.first <= k)
    return np.bincount(pool.of[lacking], minlength=len(judged.frame.ids))


def running(values: Floats, anchor: Ints) -> Floats:
    """The cumulative sum of `values`, begun anew at each anchor; entries of one anchor stand together."""
    total: Floats = np.append(0.0, np.cumsum(values))
    return total[1:] - total[np.searchsorted(anchor, anchor)]


def _precisions(anchor: Ints, rank: Ints, same: NDArray[np.bool_], k: int, anchors: int) -> Floats:
    """float64[anchors]: Σ precision at r over the ranks r up to k where there is a same product."""
    gain = running(same.astype(np.float64), anchor) / rank
    return totals(anchor, np.where(same & (rank <= k), gain, 0), anchors)
