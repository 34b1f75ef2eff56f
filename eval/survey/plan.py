"""Plans a survey: how many anchors it needs, and the expected margin of its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt

from mmprod.eval.survey.frame import Stratum
from mmprod.storage.errors import InputError

NOTHING_KNOWN = (0.5, 0.3)
"""Share and correlation without an earlier survey: the share with the widest interval, a typical
correlation."""

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_CERTAIN = 0.05  # an observed share of 0 or 1 is planned as 5 % or 95 %, as the next survey may differ


@dataclass(frozen=True)
class Planned:
    """The plan for a category, or for all; `margin`: the expected ± of its share, at 95 %."""

    category: str
    population: int
    anchors: int
    pairs: int
    margin: float


@dataclass(frozen=True)
class Plan:
    """The plan of a survey: by category, in total, and the anchors to draw by (category, band)."""

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
    """The number of anchors that each category needs to estimate its share of same pairs to ± `margin`.

    Args:
        strata: of the frame.
        pairs_per_anchor: m, number of pairs that will be judged per anchor, at least 1.
        margin: half the wanted 95 % interval of each category, e.g. .02; None: `anchors_per_category`.
        anchors_per_category: anchors of each category if no margin is given.
        prior: share p of same pairs and correlation ρ of an anchor's pairs, by category, from an earlier
            survey; NOTHING_KNOWN for the others.
    The bands of a category get equal numbers of anchors as far as they have enough (so the few
    best-sellers are over-sampled), and at least two each: a band without anchors would bias the figure, and
    one anchor alone has no variance. With W_h = N_h / N and n_h of N_h anchors drawn,

        variance = p(1-p) Σ_h W_h² [ρ (1 - n_h / N_h) + (1 - ρ) / m] / n_h        margin = 1.96 √variance

    the variance of two-stage sampling (Cochran, Sampling Techniques, 3rd ed., 1977, chapters 5 and 10):
    p(1-p) / nm times 1 + (m - 1) ρ for correlated pairs, times n Σ W_h² / n_h for equal parts, with the
    finite population correction of the anchors. The m pairs are treated as a few of an anchor's many, so
    actual intervals may be narrower. If even all anchors are not enough, all are planned.

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
    """`total` in equal parts, none above its size; what a small part can't take goes to the others.

    If `total` grows by one, one part grows by one, so no part shrinks.
    """
    parts = [0] * len(sizes)
    for done, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        parts[i] = min(sizes[i], (total - sum(parts)) // (len(sizes) - done))
    return parts


@dataclass(frozen=True)
class _Design:
    """A category: the anchors of its bands, the pairs per anchor, expected share and correlation."""

    sizes: Sequence[int]
    pairs: float
    share: float
    alike: float

    def margin(self, parts: Sequence[int]) -> float:
        """The expected ± if `parts` of the bands' anchors are drawn, each at least 1; formula: see `plan`."""
        share = min(max(self.share, _CERTAIN), 1 - _CERTAIN)
        population = sum(self.sizes)
        anchors = (
            (size / population) ** 2 * (self.alike * (1 - n / size) + (1 - self.alike) / self.pairs) / n
            for n, size in zip(parts, self.sizes, strict=True)
        )
        return _Z * sqrt(share * (1 - share) * sum(anchors))

    def needed(self, margin: float) -> int:
        """The smallest number of anchors with at most this margin, by bisection; all if none has."""
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
    """The total; categories are independent, so variances add up, weighted by their shares of all anchors."""
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
