"""Precision: the share of same products among all that a system found."""

from dataclasses import dataclass
from typing import ClassVar

from mmprod.eval.measures.counted_lists import CountedLists, Fractions
from mmprod.eval.measures.measure import EstimatedMeasure
from mmprod.eval.measures.sampled_lists import SampledLists


@dataclass(frozen=True)
class Precision(EstimatedMeasure):
    """Same products among all that the system found down to the pooled depth k:

        precision = Σ_{r≤k} y_r / min(k, n)

    van Rijsbergen, Information Retrieval (1979), chapter 7. Over several anchors it is the ratio of the
    sums, so anchors count by their number of products. Both sums are unbiased, their ratio slightly biased;
    anchors that have a rank band without any verdict have no estimate.
    """

    kind: ClassVar[str] = "precision"
    meaning: ClassVar[str] = (
        "Of all products a system found as deep as the survey goes, the share that is the same."
    )
    headline: ClassVar[bool] = True
    has_cutoff: ClassVar[bool] = False

    def counted(self, lists: CountedLists, k: int) -> Fractions:
        found = lists.found_by(k)
        return lists.fractions(lists.same_by(k), found, found, k)

    def estimated(self, lists: SampledLists, k: int) -> Fractions:
        found = lists.found_by(k)
        return Fractions(
            lists.same_by(k),
            found,
            found,
            lists.judged.finished(k, least=1),
            lists.judged.finished(k),
            lists.within(k),
            lists.unknown_by(k),
        )
