"""R@k: the share of an anchor's same products that is among the first k."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmprod.eval.measures.counted_lists import CountedLists, Fractions
from mmprod.eval.measures.measure import EstimatedMeasure
from mmprod.eval.measures.sampled_lists import SampledLists


@dataclass(frozen=True)
class Recall(EstimatedMeasure):
    """Number of same products among the first k, divided by that of all same products that any system found:

        R@k = Σ_{r≤k} y_r / R

    trec_eval's recall (Buckley & Voorhees 2005), with the pool as the set of all products. Anchors with R = 0
    have no value. The estimate divides by an estimated R; anchors that have a rank band without any verdict
    have no estimate.
    """

    kind: ClassVar[str] = "R"
    called: ClassVar[str] = "recall"
    meaning: ClassVar[str] = (
        "Of the same products that any system found for an anchor, the share that is among the first {k}."
    )
    headline: ClassVar[bool] = True

    def counted(self, lists: CountedLists, k: int) -> Fractions:
        size = np.minimum(lists.relevant, 1)
        return lists.fractions(lists.same_by(k), lists.relevant, size, lists.judged.depth)

    def estimated(self, lists: SampledLists, k: int) -> Fractions:
        depth, size = lists.judged.depth, np.minimum(lists.relevant, 1)
        known, whole = lists.judged.finished(depth, least=1), lists.judged.finished(depth)
        return Fractions(lists.same_by(k), lists.relevant, size, known, whole)
