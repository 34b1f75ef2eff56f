"""AP@k: average precision; its mean over anchors is mAP@k."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmprod.eval.estimate import Floats, totals
from mmprod.eval.judged_arrays import UNJUDGED
from mmprod.eval.measures.counted_lists import CountedLists, Fractions, running
from mmprod.eval.measures.measure import EstimatedMeasure
from mmprod.eval.measures.sampled_lists import SampledLists


@dataclass(frozen=True)
class AveragePrecision(EstimatedMeasure):
    """Precision at the rank of each same product up to k, summed, and divided by the number of same products:

        AP@k = Σ_{r≤k} y_r P@r / R

    It is trec_eval's map_cut (Buckley & Voorhees 2005): R is the denominator also if it is above k, and AP is
    0 if R is 0. The estimate of the sum is xinfAP's (Yilmaz, Kanoulas, Aslam, SIGIR 2008), divided by an
    estimated R. It is too low if few products of a band were drawn: AP@10 by about 0.02 in simulated surveys
    with two of seven, 0.1 with two of fifteen. Anchors that have a rank band of several products with only
    one verdict have no estimate.
    """

    kind: ClassVar[str] = "AP"
    called: ClassVar[str] = "mAP"
    meaning: ClassVar[str] = (
        "Rewards lists with the same products at the top: for each of them up to rank {k}, the share of same "
        "products down to its rank, summed and divided by all same products that any system found."
    )
    headline: ClassVar[bool] = True

    def counted(self, lists: CountedLists, k: int) -> Fractions:
        precision = running(lists.same.astype(np.float64), lists.anchor) / lists.rank
        above = lists.sums(np.where(lists.same & (lists.rank <= k), precision, 0))
        return lists.fractions(above, lists.relevant, lists.ones, lists.judged.depth)

    def estimated(self, lists: SampledLists, k: int) -> Fractions:
        depth = lists.judged.depth
        known, whole = lists.judged.finished(depth, least=2), lists.judged.finished(depth)
        return Fractions(_estimated_sum(lists, k), lists.relevant, lists.ones, known, whole)


def _estimated_sum(sampled: SampledLists, k: int) -> Floats:
    """float64[anchors]: estimates of Σ_{r≤k} y_r P@r.

    As in xinfAP, the precision at a judged same product of rank r is (1 + Σ_b c_b s_b) / r, with c_b the
    number of products of rank band b above it, and s_b the share of same ones among the judged of these; if
    none is judged, among all other judged pairs of the anchor's band.
    """
    judged, lists = sampled.judged, sampled.lists
    pool, anchors = judged.pool, judged.anchors.num_rows
    same, known = lists.verdict == 1, lists.verdict != UNJUDGED
    hit = totals(pool.part, pool.verdict == 1, len(pool.size))
    above = np.zeros(len(same))
    for band, first in enumerate(judged.band_firsts):
        here = lists.band == band
        count = running(here.astype(np.float64), lists.anchor) - here
        seen = running((here & known).astype(np.float64), lists.anchor) - (here & known)
        hits = running((here & same).astype(np.float64), lists.anchor) - (here & same)
        part = pool.first == first  # the band of each anchor
        rest = _share(
            totals(pool.of[part], hit[part], anchors)[lists.anchor] - (here & same),
            totals(pool.of[part], pool.judged[part], anchors)[lists.anchor] - (here & known),
        )
        above += count * np.where(seen > 0, _share(hits, seen), rest)
    gain = np.where(same & (lists.rank <= k), sampled.stands_for * (1 + above) / lists.rank, 0)
    return sampled.sums(gain)


def _share(some: Floats, all_: Floats) -> Floats:
    return some / np.maximum(all_, 1)
