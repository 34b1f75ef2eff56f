"""The part of an evaluation's report about the sample: which anchors and pairs were drawn."""

from collections.abc import Sequence

import numpy as np

from mmprod.report.page import Part, Table
from mmprod.report.review.subject import Subject

HEADINGS = ("category", "sales", "products", "drawn", "each stands for", "pairs drawn", "pairs judged")
SHOWN = 12  # strata; a longer table is folded


def sample_part(subject: Subject) -> Part:
    """How anchors and pairs were drawn, stratum by stratum."""
    sample, pool = subject.judged.sample, subject.judged.pool
    strata, first = np.unique(sample.stratum, return_index=True)
    stratum_of = np.searchsorted(strata, sample.stratum)
    anchors, pairs, known = (
        np.bincount(stratum_of[places], minlength=len(strata)).tolist()
        for places in (slice(None), pool.anchor, pool.anchor[pool.verdict >= 0])
    )
    order = {name: place for place, name in enumerate(subject.scopes("sales"))}
    rows = []
    for number, at in enumerate(first.tolist()):
        names = (sample.categories[sample.category[at]], sample.bands[sample.band[at]])
        there = None if subject.texts else int(sample.population[at])
        weight = f"{sample.weight[at]:,.1f}"
        rows.append((*names, there, anchors[number], weight, pairs[number], known[number]))
    rows.sort(key=lambda row: (row[0], order.get(row[1], 0)))
    table = Table(HEADINGS, rows, title="Category by category", folded=len(rows) > SHOWN)
    return Part("How the sample was drawn", f"{_anchors(subject)} {_pairs(subject)}", tables=[table])


def _anchors(subject: Subject) -> str:
    weights = subject.judged.sample.weight
    if subject.texts:
        return f"{len(weights):,} texts were searched for; they represent all possible searches."
    if (weights == 1).all():
        return f"All {len(weights):,} products were taken as anchors, so none stands for others."
    return (
        f"{len(weights):,} of {weights.sum():,.0f} products were drawn at random as anchors, separately in "
        "each category and sales band; small groups are over-sampled, and weights compensate for this in "
        "every figure."
    )


def _pairs(subject: Subject) -> str:
    pool, candidates = subject.judged.pool, subject.judged.candidates.num_rows
    return (
        f"The products that {_listed(subject.systems)} found for them ({candidates:,} places in lists) were "
        f"pooled, and pairs to ask about were drawn by a product's best rank: {'; '.join(_bands(subject))}. "
        f"{int((pool.verdict >= 0).sum()):,} of these {len(pool.verdict):,} pairs have a verdict."
    )


def _bands(subject: Subject) -> list[str]:
    """The number of pairs drawn in each rank band, and of how many."""
    pool, firsts = subject.judged.pool, subject.judged.band_firsts.tolist()
    told = []
    for first, after in zip(firsts, [*firsts[1:], None], strict=True):
        here = pool.first == first
        drawn, pooled = int(here[pool.part].sum()), int(pool.size[here].sum())
        ranks = f"from rank {first}" if after is None else f"ranks {first} to {after - 1}"
        told.append(f"{ranks}: all {drawn:,}" if drawn == pooled else f"{ranks}: {drawn:,} of {pooled:,}")
    return told


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
