"""Lists in which every product counts as same or not, and the fractions of which measures consist."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmprod.eval.estimate import Floats, Ints, totals
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import UNJUDGED, Lists


@dataclass(frozen=True)
class Fractions:
    """A measure by anchor of the survey, as a fraction above / below; float64[anchors] and bool[anchors].

    `size`: a factor in addition to the anchor's weight, 0 if the measure is undefined for it; `valid`:
    whether enough is judged; `exact`: whether everything is judged, so that nothing is estimated. `within`
    (float64[anchors, 3]) and `unknown` (float64[anchors]): see `estimate.mean`; None if the variance of
    drawing pairs is not known separately.
    """

    above: Floats
    below: Floats
    size: Floats
    valid: NDArray[np.bool_]
    exact: NDArray[np.bool_]
    within: Floats | None = None
    unknown: Floats | None = None


@dataclass(frozen=True, eq=False)
class CountedLists:
    """A system's lists, concatenated by anchor and rank; an entry is a product, same as its anchor or not.

    `anchor` int64[n], `rank` int64[n] from 1, `same` bool[n]. In condensed lists unjudged products are left
    out and the others move up; otherwise unjudged products count as not the same.
    """

    judged: Judged
    lists: Lists
    anchor: Ints
    rank: Ints
    same: NDArray[np.bool_]

    @classmethod
    def of(cls, judged: Judged, system: str, condensed: bool) -> "CountedLists":
        """The lists of a system. Raises: InputError for a system without candidates."""
        lists = judged.lists(system)
        kept = lists.verdict != UNJUDGED if condensed else np.full(len(lists.rank), True)
        anchor = lists.anchor[kept]
        rank = 1 + np.arange(len(anchor)) - np.searchsorted(anchor, anchor)
        return cls(judged, lists, anchor, rank, lists.verdict[kept] == 1)

    def sums(self, amounts: NDArray[np.generic]) -> Floats:
        """float64[anchors]: the sums of `amounts` (any number type or bool, [n]) by anchor."""
        return totals(self.anchor, amounts, len(self.ones))

    def same_by(self, k: int) -> Floats:
        """float64[anchors]: number of same products among the first k."""
        return self.sums(self.same & (self.rank <= k))

    def found_by(self, k: int) -> Floats:
        """float64[anchors]: number of products among the first k."""
        return self.sums(self.rank <= k)

    def empty_by(self, k: int) -> Floats:
        """float64[anchors]: number of the first k places that the system left empty."""
        return empty_places(self.lists, k, len(self.ones))

    @cached_property
    def relevant(self) -> Floats:
        """float64[anchors]: R, the number of products judged the same among all systems' candidates."""
        pool = self.judged.pool
        return totals(pool.anchor, pool.verdict == 1, len(self.ones))

    @cached_property
    def ones(self) -> Floats:
        """float64[anchors] of 1."""
        return np.ones(self.judged.anchors.num_rows)

    def fractions(self, above: Floats, below: Floats, size: Floats, last: int) -> Fractions:
        """A measure that uses verdicts down to rank `last`; valid at anchors with any verdict."""
        pool = self.judged.pool
        answered = totals(pool.anchor, pool.verdict != UNJUDGED, len(self.ones)) > 0
        return Fractions(above, below, size, answered | ~self.judged.listed, self.judged.finished(last))


def empty_places(lists: Lists, k: int, anchors: int) -> Floats:
    """float64[anchors]: number of the first k places that the system left empty."""
    return np.maximum(k - totals(lists.anchor, np.ones(len(lists.anchor)), anchors), 0)


def running(values: Floats, anchor: Ints) -> Floats:
    """The cumulative sum of `values`, restarted at each anchor; entries of one anchor must be adjacent."""
    total: Floats = np.append(0.0, np.cumsum(values))
    return total[1:] - total[np.searchsorted(anchor, anchor)]
