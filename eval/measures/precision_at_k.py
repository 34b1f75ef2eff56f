"""P@k: the share of the first k places of a list that hold a same product."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmprod.eval.measures.counted_lists import CountedLists, Fractions
from mmprod.eval.measures.measure import EstimatedMeasure
from mmprod.eval.measures.sampled_lists import SampledLists


@dataclass(frozen=True)
class PrecisionAtK(EstimatedMeasure):
    """Number of same products among the first k, divided by k, also if the list is shorter:

        P@k = Σ_{r≤k} y_r / k

    trec_eval's P (Buckley & Voorhees, in TREC: Experiment and Evaluation in Information Retrieval, 2005). If
    a condensed list is shorter than k only because products were removed, the divisor is its length. The
    estimate is unbiased; anchors that have a rank band down to k without any verdict have no estimate.
    """

    kind: ClassVar[str] = "P"
    meaning: ClassVar[str] = (
        "Of the first {k} products found for an anchor, the share that is the same; the mean over anchors."
    )
    headline: ClassVar[bool] = True

    def counted(self, lists: CountedLists, k: int) -> Fractions:
        places = lists.found_by(k) + lists.empty_by(k)
        return lists.fractions(lists.same_by(k), places, np.minimum(places, 1), k)

    def estimated(self, lists: SampledLists, k: int) -> Fractions:
        """The estimated number of places differs slightly from k; `size` is that number divided by k."""
        places = lists.found_by(k) + lists.empty_by(k)
        return Fractions(
            lists.same_by(k),
            places,
            places / k,
            lists.judged.finished(k, least=1),
            lists.judged.finished(k),
            lists.within(k) / k**2,
            lists.unknown_by(k),
        )
