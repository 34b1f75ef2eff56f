"""Success@k: whether a same product is among the first k."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmprod.eval.measures.counted_lists import CountedLists, Fractions
from mmprod.eval.measures.measure import EstimatedMeasure
from mmprod.eval.measures.sampled_lists import SampledLists


@dataclass(frozen=True)
class Success(EstimatedMeasure):
    """Whether any of the first k products is a same product:

        Success@k = max_{r≤k} y_r

    trec_eval's success (Craswell & Hawking, TREC 2004). It can't be estimated from a part of the products, so
    only anchors with all of the first k judged have a "pooled" value.
    """

    kind: ClassVar[str] = "Success"
    meaning: ClassVar[str] = "The share of anchors with at least one same product among the first {k}."

    def counted(self, lists: CountedLists, k: int) -> Fractions:
        return lists.fractions(np.minimum(lists.same_by(k), 1), lists.ones, lists.ones, k)

    def estimated(self, lists: SampledLists, k: int) -> Fractions:
        whole = lists.unjudged_by(k) == 0
        same = np.minimum(lists.same_by(k), 1)
        return Fractions(same, lists.ones, lists.ones, whole, lists.judged.finished(k))
