"""Lists of which only a part was drawn and judged, and estimates from it by inclusion probabilities.

The judged pairs of an (anchor, rank band) are treated as a random sample of all pairs pooled in it, so each
represents several (`Pool.stands_for`).
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
    """A system's lists, and how many products of its rank band each judged product represents."""

    judged: Judged
    lists: Lists

    @classmethod
    def of(cls, judged: Judged, system: str) -> "SampledLists":
        """The lists of a system. Raises: InputError for a system without candidates."""
        return cls(judged, judged.lists(system))

    @cached_property
    def stands_for(self) -> Floats:
        """float64[n]: how many products each entry represents, 0 if it was not drawn or not judged."""
        return np.append(self.judged.pool.stands_for, 0.0)[self.lists.pair]  # index -1 (not drawn) is the
        # appended 0

    def sums(self, amounts: NDArray[np.generic]) -> Floats:
        """float64[anchors]: the sums of `amounts` (any number type or bool, [n]) by anchor."""
        return totals(self.lists.anchor, amounts, len(self.ones))

    def same_by(self, k: int) -> Floats:
        """float64[anchors]: estimated number of same products among the first k."""
        return self.sums(self.stands_for * (self.lists.rank <= k) * (self.lists.verdict == 1))

    def found_by(self, k: int) -> Floats:
        """float64[anchors]: number of products among the first k, estimated from the judged ones."""
        return self.sums(self.stands_for * (self.lists.rank <= k))

    def empty_by(self, k: int) -> Floats:
        """float64[anchors]: number of the first k places that the system left empty."""
        return empty_places(self.lists, k, len(self.ones))

    def unjudged_by(self, k: int) -> Floats:
        """float64[anchors]: number of products among the first k without a verdict."""
        return self.sums((self.lists.verdict == UNJUDGED) & (self.lists.rank <= k))

    def unknown_by(self, k: int) -> Floats:
        """float64[anchors]: the share of the first k products without a verdict, 0 for an empty list."""
        return self.unjudged_by(k) / np.maximum(self.sums(self.lists.rank <= k), 1)

    @cached_property
    def relevant(self) -> Floats:
        """float64[anchors]: estimated R, the number of same products among all systems' candidates."""
        pool = self.judged.pool
        return totals(pool.anchor, pool.stands_for * (pool.verdict == 1), len(self.ones))

    @cached_property
    def ones(self) -> Floats:
        """float64[anchors] of 1."""
        return np.ones(self.judged.anchors.num_rows)

    def within(self, k: int) -> Floats:
        """float64[anchors, 3]: the variance from drawing pairs within an anchor, for `estimate.mean`.

        Of the m judged pairs of a part, `a` are among the system's first k, and `b` of these are the same.
        The variance of the estimated total of d = y - r over these `a` pairs is M² (1 - m/M) s²/m (Cochran
        1977, 2.4), returned as its coefficients in r. A part with one verdict has no s²; d² is used instead,
        which is larger.
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
