"""How many anchors a survey needs, and how exact its figures will be: known before anybody is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt

from mmprod.eval.survey.frame import Stratum
from mmprod.storage.errors import InputError

NOTHING_KNOWN = (0.5, 0.3)
"""Share and correlation where there is no earlier survey: the widest share, and what catalogues show."""

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_CERTAIN = 0.05  # a share seen at 0 or 1 is planned for as 5 % or 95 %: the next survey may see another


@dataclass(frozen=True)
class Planned:
    """What is planned for a category, or for all: `margin` is the ± expected of its share, at 95 %."""

    category: str
    population: int
    anchors: int
    pairs: int
    margin: float


@dataclass(frozen=True)
class Plan:
    """What a survey will ask: by category, in all, and the anchors to draw by (category, band)."""

    categories: tuple[Planned, ...]
    total: Planned
    anchors: Mapping[tuple[str, str], int]


def plan(
    strata: Sequence[Stratum],
    pairs_per_anchor: float,
    margin: float | None,
    anchors_per_category: int,
    prior: Mapping[str, tuple[float, float]],
) -> Plan:
    """The anchors each category needs for its share of same pairs to be known to ± `margin`.

    Args:
        strata: of the frame.
        pairs_per_anchor: m, pairs that will be judged of each anchor, at least 1.
        margin: half the 95 % interval wanted for each category, e.g. .02; None: `anchors_per_category`.
        anchors_per_category: anchors of each category where no margin is wanted.
        prior: share p of same pairs and correlation ρ of the pairs of an anchor, by category, as an
            earlier survey found them; NOTHING_KNOWN for the others.

    The bands of a category get equal parts of its anchors while they last (so those of high sales, which
    are few, are over-sampled), and at least two each: a band nobody is asked about would bias the figure,
    and the spread of a single anchor is unknown. With W_h = N_h / N and n_h of N_h anchors drawn,

        variance = p(1-p) Σ_h W_h² [ρ (1 - n_h / N_h) + (1 - ρ) / m] / n_h        margin = 1.96 √variance

    the variance of two-stage sampling (Cochran, Sampling Techniques, 3rd ed., 1977, chapters 5 and 10):
    p(1-p) / nm times 1 + (m - 1) ρ for pairs that are alike, times n Σ W_h² / n_h for equal parts, with
    the finite population correction of the anchors. The m pairs count as few of an anchor's many, so
    intervals may come out narrower; where even all anchors are not enough, all are planned.

    Raises: InputError for no strata, counts below 1, margins, shares and correlations out of (0, 1).
    """
    _check(strata, pairs_per_anchor, margin, anchors_per_category, prior)
    rows: list[Planned] = []
    counts: dict[tuple[str, str], int] = {}
    for name, group in groupby(sorted(strata, key=lambda s: s.category), key=lambda s: s.category):
        bands = list(group)
        design = _Design([s.population for s in bands], pairs_per_anchor, *prior.get(name, NOTHING_KNOWN))
        wanted = anchors_per_category if margin is None else design.needed(margin)
        parts = spread(max(wanted, sum(min(2, size) for size in design.sizes)), design.sizes)
        counts |= {(s.category, s.band): n for s, n in zip(bands, parts, strict=True)}
        rows.append(design.planned(name, parts))
    return Plan(tuple(rows), _total(rows), counts)


def spread(total: int, sizes: Sequence[int]) -> list[int]:
    """`total` in equal parts, none above its size: what a small one can't take, the others do.

    One more in all is one more in one part, so no part shrinks as `total` grows.
    """
    parts = [0] * len(sizes)
    for done, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        parts[i] = min(sizes[i], (total - sum(parts)) // (len(sizes) - done))
    return parts


@dataclass(frozen=True)
class _Design:
    """A category: the anchors of its bands, pairs of an anchor, and what is expected of the answers."""

    sizes: Sequence[int]
    pairs: float
    share: float
    alike: float

    def margin(self, parts: Sequence[int]) -> float:
        """The ± expected with `parts` of the bands' anchors, all at least 1 (the formula of `plan`)."""
        share = min(max(self.share, _CERTAIN), 1 - _CERTAIN)
        population = sum(self.sizes)
        anchors = (
            (size / population) ** 2 * (self.alike * (1 - n / size) + (1 - self.alike) / self.pairs) / n
            for n, size in zip(parts, self.sizes, strict=True)
        )
        return _Z * sqrt(share * (1 - share) * sum(anchors))

    def needed(self, margin: float) -> int:
        """The fewest anchors whose margin is at most `margin`, by bisection; all where none is."""
        low, high = len(self.sizes), sum(self.sizes)  # one of each band at least
        while low < high:
            middle = (low + high) // 2
            enough = self.margin(spread(middle, self.sizes)) <= margin
            low, high = (low, middle) if enough else (middle + 1, high)
        return low

    def planned(self, category: str, parts: Sequence[int]) -> Planned:
        pairs = round(sum(parts) * self.pairs)
        return Planned(category, sum(self.sizes), sum(parts), pairs, self.margin(parts))


def _total(rows: Sequence[Planned]) -> Planned:
    """Categories are drawn independently: their variances add up, weighted by their parts of all anchors."""
    population = sum(row.population for row in rows)
    margin = sqrt(sum((row.population / population * row.margin) ** 2 for row in rows))
    return Planned("all", population, sum(r.anchors for r in rows), sum(r.pairs for r in rows), margin)


def _check(
    strata: Sequence[Stratum],
    pairs: float,
    margin: float | None,
    anchors: int,
    prior: Mapping[str, tuple[float, float]],
) -> None:
    if not strata:
        raise InputError("a survey of no strata: there are no anchors")
    for name, value in (("pairs_per_anchor", pairs), ("anchors_per_category", anchors)):
        if not value >= 1:
            raise InputError(f"{name} is {value}, want at least 1")
    if margin is not None and not 0 < margin < 1:
        raise InputError(f"margin is {margin}, want a share within 0 and 1, such as 0.02")
    for category, (share, alike) in prior.items():
        if not (0 <= share <= 1 and 0 <= alike <= 1):
            raise InputError(f"{category!r} has share {share} and correlation {alike}, want both in 0 to 1")
