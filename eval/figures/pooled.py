"""Ranked measures of lists of which a part was drawn and judged, by inclusion probabilities.

The judged pairs of an (anchor, rank band) count as drawn at random, without replacement, from all that
were pooled in it: drawn by the survey, and answered at random. With m verdicts on M products, each judged
product stands for M/m of them (Horvitz & Thompson, JASA 47, 1952).
"""

import numpy as np

from mmprod.eval.estimate import Floats, totals
from mmprod.eval.figures.judged import UNJUDGED, Judged, Lists, Pool
from mmprod.eval.figures.ranked import Counted, running, unfinished


def estimated(judged: Judged, lists: Lists, name: str, k: int) -> Counted:
    """`name` at `k` with the unjudged products of a rank band estimated by its judged ones."""
    pool, anchors = judged.pool, len(judged.frame.ids)
    stands = stands_for(pool)
    mine = np.append(stands, 0.0)[lists.pair] * (lists.rank <= k)  # -1, not drawn, takes the 0
    hits = totals(lists.anchor, mine * (lists.verdict == 1), anchors)
    relevant = totals(pool.anchor, stands * (pool.verdict == 1), anchors)
    ones = np.ones(anchors)
    deep = k if name in ("P", "Success") else judged.depth
    valid = unfinished(judged, deep, least=2 if name == "AP" else 1) == 0
    exact = unfinished(judged, deep, None) == 0
    if name in ("precision", "P"):
        short = np.maximum(k - np.bincount(lists.anchor, minlength=anchors), 0) * (name == "P")
        below = totals(lists.anchor, mine, anchors) + short
        unit = k if name == "P" else 1
        within = within_anchors(pool, lists, k, anchors) / unit**2
        first = lists.rank <= k
        open_ = totals(lists.anchor, first & (lists.verdict == UNJUDGED), anchors)
        unknown = open_ / np.maximum(totals(lists.anchor, first, anchors), 1)
        return Counted(hits, below, below / unit, valid, exact, within, unknown)
    if name == "Success":
        unknown = totals(lists.anchor, (lists.verdict == UNJUDGED) & (lists.rank <= k), anchors)
        return Counted(np.minimum(hits, 1), ones, ones, unknown == 0, exact)
    if name == "R":
        return Counted(hits, relevant, np.minimum(relevant, 1), valid, exact)
    return Counted(_precisions(judged, lists, k), relevant, ones, valid, exact)


def stands_for(pool: Pool) -> Floats:
    """float64[p]: how many products of its rank band each pair stands for, 0 where it is unjudged."""
    each = pool.size / np.maximum(pool.judged, 1)
    return np.where(pool.verdict == UNJUDGED, 0, each[pool.part])


def within_anchors(pool: Pool, lists: Lists, k: int, anchors: int) -> Floats:
    """float64[anchors, 3]: the variance that drawing pairs adds to an anchor, as `estimate.mean` takes it.

    Of the m judged pairs of a part a are among the system's first k, and b of these the same. The variance
    of the estimated total of d = y - r over the a of them is M² (1 - m/M) s²/m (Cochran 1977, 2.4), given
    here as its coefficients in r. A part with one verdict has no s²; d² takes its place, on the wide side.
    """
    listed = (lists.verdict != UNJUDGED) & (lists.rank <= k)
    part = pool.part[lists.pair[listed]]
    a = np.bincount(part, minlength=len(pool.size)).astype(np.float64)
    b = totals(part, lists.verdict[listed] == 1, len(pool.size))
    m, size = np.maximum(pool.judged, 1), pool.size
    scale = size**2 * (1 - m / size) / m / np.maximum(m - 1, 1)
    centred = (m > 1) / m
    squares = (b - centred * b * b, b - centred * a * b, a - centred * a * a)
    return np.stack([totals(pool.of, scale * square, anchors) for square in squares], axis=1)


def _precisions(judged: Judged, lists: Lists, k: int) -> Floats:
    """float64[anchors]: estimates of Σ precision at r over the ranks r up to k with a same product.

    As xinfAP (Yilmaz, Kanoulas, Aslam, SIGIR 2008): at a judged same product of rank r precision is
    (1 + Σ_b c_b s_b) / r, with c_b the products above it of rank band b and s_b the share of same ones
    among the judged of them; where none is, among all other judged pairs of the anchor's band.
    """
    pool, anchors = judged.pool, len(judged.frame.ids)
    stands = np.append(stands_for(pool), 0.0)[lists.pair]
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
    gain = np.where(same & (lists.rank <= k), stands * (1 + above) / lists.rank, 0)
    return totals(lists.anchor, gain, anchors)


def _share(some: Floats, all_: Floats) -> Floats:
    return some / np.maximum(all_, 1)
