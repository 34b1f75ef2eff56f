"""Lists in which every product counts as the same or not, and what counted measures are made of."""

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


@dataclass(frozen=True, eq=False)
class CountedLists:
    """A system's lists, end to end by anchor and rank; an entry is a product, the same as its anchor or not.

    `anchor` int64[n], `rank` int64[n] from 1 and `same` bool[n] leave unjudged products out and move the
    rest up where the lists are condensed; else unjudged products are in it as not the same.
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
        """float64[anchors]: the sum over each anchor's entries of `amounts`, any number or bool [n]."""
        return totals(self.anchor, amounts, len(self.ones))

    def same_by(self, k: int) -> Floats:
        """float64[anchors]: same products among the first k."""
        return self.sums(self.same & (self.rank <= k))

    def found_by(self, k: int) -> Floats:
        """float64[anchors]: products among the first k."""
        return self.sums(self.rank <= k)

    def empty_by(self, k: int) -> Floats:
        """float64[anchors]: places among the first k that the system left empty."""
        return empty_places(self.lists, k, len(self.ones))

    @cached_property
    def relevant(self) -> Floats:
        """float64[anchors]: R, the products judged the same among all systems' candidates."""
        pool = self.judged.pool
        return totals(pool.anchor, pool.verdict == 1, len(self.ones))

    @cached_property
    def ones(self) -> Floats:
        """float64[anchors] of 1."""
        return np.ones(self.judged.anchors.num_rows)

    def fractions(self, above: Floats, below: Floats, size: Floats, last: int) -> Fractions:
        """A measure that verdicts down to rank `last` bear on; it is valid where there is any verdict."""
        pool = self.judged.pool
        answered = totals(pool.anchor, pool.verdict != UNJUDGED, len(self.ones)) > 0
        return Fractions(above, below, size, answered | ~self.judged.listed, self.judged.finished(last))


def empty_places(lists: Lists, k: int, anchors: int) -> Floats:
    """float64[anchors]: places among the first k that the system left empty."""
    return np.maximum(k - totals(lists.anchor, np.ones(len(lists.anchor)), anchors), 0)


def running(values: Floats, anchor: Ints) -> Floats:
    """The cumulative sum of `values`, begun anew at each anchor; entries of one anchor stand together."""
    total: Floats = np.append(0.0, np.cumsum(values))
    return total[1:] - total[np.searchsorted(anchor, anchor)]
