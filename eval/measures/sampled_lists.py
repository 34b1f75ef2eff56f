"""Lists of which a part was drawn and judged, and what is estimated of them by inclusion probabilities.

The judged pairs of an (anchor, rank band) count as drawn at random from all that were pooled in it, so each
stands for several (`Pool.stands_for`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmprod.eval.estimate import Floats, totals
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import UNJUDGED, Lists
from mmprod.eval.measures.counted_lists import empty_places


@dataclass(frozen=True, eq=False)
class SampledLists:
    """A system's lists, and for how many products of its rank band each judged one stands."""

    judged: Judged
    lists: Lists

    @classmethod
    def of(cls, judged: Judged, system: str) -> "SampledLists":
        """The lists of a system. Raises: InputError for a system without candidates."""
        return cls(judged, judged.lists(system))

    @cached_property
    def stands_for(self) -> Floats:
        """float64[n]: how many products each entry stands for, 0 where it was not drawn or not judged."""
        return np.append(self.judged.pool.stands_for, 0.0)[self.lists.pair]  # -1, not drawn, takes the 0

    def sums(self, amounts: NDArray[np.generic]) -> Floats:
        """float64[anchors]: the sum over each anchor's entries of `amounts`, any number or bool [n]."""
        return totals(self.lists.anchor, amounts, len(self.ones))

    def same_by(self, k: int) -> Floats:
        """float64[anchors]: estimates of the same products among the first k."""
        return self.sums(self.stands_for * (self.lists.rank <= k) * (self.lists.verdict == 1))

    def found_by(self, k: int) -> Floats:
        """float64[anchors]: estimates of the products among the first k, from the judged ones."""
        return self.sums(self.stands_for * (self.lists.rank <= k))

    def empty_by(self, k: int) -> Floats:
        """float64[anchors]: places among the first k that the system left empty."""
        return empty_places(self.lists, k, len(self.ones))

    def unjudged_by(self, k: int) -> Floats:
        """float64[anchors]: products among the first k without a verdict."""
        return self.sums((self.lists.verdict == UNJUDGED) & (self.lists.rank <= k))

    def unknown_by(self, k: int) -> Floats:
        """float64[anchors]: the share of the first k that has no verdict, 0 where the list is empty."""
        return self.unjudged_by(k) / np.maximum(self.sums(self.lists.rank <= k), 1)

    @cached_property
    def relevant(self) -> Floats:
        """float64[anchors]: estimates of R, the same products among all systems' candidates."""
        pool = self.judged.pool
        return totals(pool.anchor, pool.stands_for * (pool.verdict == 1), len(self.ones))

    @cached_property
    def ones(self) -> Floats:
        """float64[anchors] of 1."""
        return np.ones(self.judged.anchors.num_rows)

    def within(self, k: int) -> Floats:
        """float64[anchors, 3]: the variance that drawing pairs adds to an anchor, for `estimate.mean`.

        Of the m judged pairs of a part a are among the system's first k, and b of these the same. The
        variance of the estimated total of d = y - r over the a of them is M² (1 - m/M) s²/m (Cochran 1977,
        2.4), given here as its coefficients in r. A part with one verdict has no s²; d² takes its place, on
        the wide side.
        """
        pool, lists = self.judged.pool, self.lists
        listed = (lists.verdict != UNJUDGED) & (lists.rank <= k)
        part = pool.part[lists.pair[listed]]
        a = np.bincount(part, minlength=len(pool.size)).astype(np.float64)
        b = totals(part, lists.verdict[listed] == 1, len(pool.size))
        m, size = np.maximum(pool.judged, 1), pool.size
        scale = size**2 * (1 - m / size) / m / np.maximum(m - 1, 1)
        centred = (m > 1) / m
        squares = (b - centred * b * b, b - centred * a * b, a - centred * a * a)
        sums = [totals(pool.of, scale * square, len(self.ones)) for square in squares]
        return np.stack(sums, axis=1)
