"""Population figures from a stratified sample of anchors, with 95 % intervals.

The survey has two stages: anchors are drawn without replacement within strata, and some of each anchor's
pairs are drawn and answered. Figures are weighted ratios Σwy / Σw; their variance is the linearised one
between the anchors of a stratum, with the finite population correction, plus that of sampling within the
anchors. Cochran, Sampling Techniques, 3rd ed. (1977), sections 5A.2, 6.11 and 11.9; Särndal,
Swensson, Wretman, Model Assisted Survey Sampling (1992), results 4.3.1 and 5.6.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmprod.datasets.lazy import lazy
from mmprod.storage.errors import InputError

scipy = lazy("scipy")  # slow to import; not needed without intervals
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95
CAUTION = 2.0
"""The number of anchors with the rarer answer at which its variance and the worst case weigh the same."""
ROUNDS = 1_000
"""Resamples of a bootstrap."""


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval, and the number of rows (pairs or anchors) it is based on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Mean:
    """A weighted mean, its standard error, and the error's degrees of freedom (0: the error is unknown).

    `worth`: the equivalent number of clusters of equal weight from an infinite population, by the sample's
    weights alone; inf if the whole population was seen.
    """

    value: float
    error: float
    freedom: float
    worth: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval by Student's t; infinite without a degree of freedom."""
        half = quantile(self.freedom) * self.error if self.freedom else np.inf
        return self.value - half, self.value + half


def share(
    values: Floats,
    weights: Floats,
    clusters: Ints,
    strata: Ints,
    population: Floats,
    within: Floats | None = None,
    unknown: Floats | None = None,
) -> Estimate:
    """The weighted mean of values in [0, 1], as in `mean`, with a Wilson interval.

    Wilson's score interval (JASA 22, 1927) at an effective size n, with Student's t at the degrees of
    freedom instead of the normal quantile (Korn & Graubard, Survey Methodology 24, 1998; Franco, Little,
    Louis, Slud, J. Survey Statistics and Methodology 7, 2019): it stays within [0, 1] and is valid near the
    ends.
        1/n = (e · v / p(1-p) + 2 / n_0) / (e + 2)
    with v the variance of the mean, e the number of anchors with the rarer answer (Kish's effective number),
    and n_0 the effective number of anchors by their weights alone, i.e. if the pairs of each anchor were all
    alike (`Mean.worth`). So if the rarer answer was seen hardly or never, and v is unreliable, the interval
    tends to the worst case. It is the point alone if the whole population was seen, and 0 to 1 without a
    degree of freedom.

    Raises: InputError as `mean`, and for values outside [0, 1].
    """
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        raise InputError(f"a share is of values from 0 to 1, found {values.min():g} to {values.max():g}")
    found = mean(values, weights, clusters, strata, population, within, unknown)
    low, high = _wilson_of(found, _witnesses(values, weights, clusters))
    return Estimate(found.value, low, high, int(np.count_nonzero(weights)))


def mean(
    values: Floats,
    weights: Floats,
    clusters: Ints,
    strata: Ints,
    population: Floats,
    within: Floats | None = None,
    unknown: Floats | None = None,
) -> Mean:
    """The weighted ratio Σwy / Σw over rows and its standard error under the two-stage design.

    Args:
        values: float64[n], y.
        weights: float64[n], 0 or more: how much of the population a row stands for. Rows of weight 0 are
            sampled but outside the domain of the figure; their clusters count as drawn.
        clusters: int64[n], the anchor of each row; an anchor belongs to one stratum.
        strata: int64[n], the stratum of the anchor.
        population: float64[n], number of anchors in the row's stratum (N_h); inf: no finite correction.
        within: float64[n, 3], if only a part of an anchor's pairs is known: c, with c[:, 0] -
            2 r c[:, 1] + r² c[:, 2] the variance of w(y - r) given the anchor; 0 for rows fully known.
        unknown: float64[n], the share of a row's pairs without a verdict; 0 for rows fully known. It
            reduces `Mean.worth`, so that equal answers to a part are not taken for certainty.

    With z_i = Σ w(y - value) over the rows of anchor i, n_h anchors drawn of N_h, f_h = n_h / N_h:
        error² (Σw)² = Σ_h (1 - f_h) n_h/(n_h - 1) Σ_i (z_i - z̄_h)² + Σ_h f_h Σ_i within_i
    so the variance of sampling within anchors remains even if all anchors of a stratum were drawn. Strata
    of which one of several anchors was drawn are collapsed into one (Cochran, section 5A.12), which widens
    the interval. The degrees of freedom are Satterthwaite's (Biometrics 2, 1946), at most anchors minus
    strata.

    Raises: InputError for no row of positive weight, negative weights, or more anchors than the population.
    """
    total = float(weights.sum())
    if not total > 0 or weights.min() < 0:
        raise InputError(f"{len(values)} rows with weights that sum to {total:g}: nothing to average")
    value = float(np.clip(weights @ values / total, values.min(), values.max()))  # clips rounding errors
    names, first, cluster = np.unique(clusters, return_index=True, return_inverse=True)
    residual = totals(cluster, weights * (values - value), len(names))
    inner = np.zeros(len(names))
    if within is not None:
        given = within @ np.array([1, -2 * value, value * value])
        inner = totals(cluster, np.maximum(given, 0), len(names))
    group, size, drawn = _collapsed(strata[first], population[first])
    fraction = size / drawn
    centre = totals(group, residual, len(size)) / size
    squares = totals(group, (residual - centre[group]) ** 2, len(size))
    between = (1 - fraction) * size / np.maximum(size - 1, 1) * squares
    part = between + fraction * totals(group, inner, len(size))
    mass = totals(cluster, weights, len(names))
    known = np.ones(len(names))
    if unknown is not None:
        known -= totals(cluster, weights * unknown, len(names)) / np.where(mass > 0, mass, 1)
    unseen = float((mass**2) @ (1 - fraction[group] * known))
    return Mean(
        value,
        float(np.sqrt(part.sum())) / total,
        _freedom(part, size, fraction),
        total * total / unseen if unseen > 0 else np.inf,
    )


def bootstrap(
    statistic: Callable[[Floats], Floats], sums: Floats, strata: Ints, seed: int
) -> tuple[Floats, Floats]:
    """95 % percentile intervals of functions of totals, by resampling clusters within their strata.

    Args:
        statistic: from float64[k, ROUNDS], the totals of the columns of `sums` in each resample, to
            float64[m, ROUNDS].
        sums: float64[c, k], each cluster's (anchor's, group's) weighted contribution to the totals.
        strata: int64[c], the stratum of each cluster.
        seed: the same seed gives the same intervals.

    n_h - 1 of the n_h clusters of a stratum are drawn with replacement and scaled up by n_h / (n_h - 1),
    which makes the variance unbiased in small strata (Rao & Wu, JASA 83, 1988). A stratum of one cluster
    is not resampled. There is no finite population correction, so intervals are wide if most of a population
    was drawn.
    Returns: lower and upper bounds, float64[m] each.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros((sums.shape[1], ROUNDS))
    for stratum in np.unique(strata):
        # Clusters with equal sums are drawn together: a million clusters have few distinct sums.
        kinds, counts = np.unique(sums[strata == stratum], axis=0, return_counts=True)
        size = counts.sum()
        if size == 1:
            drawn += kinds.T
            continue
        for i in range(ROUNDS):
            times = random.multinomial(size - 1, counts / size)
            drawn[:, i] += times @ kinds * (size / (size - 1))
    low, high = np.nanquantile(statistic(drawn), (0.025, 0.975), axis=1)
    return low, high


def totals(places: Ints, amounts: NDArray[Any], count: int) -> Floats:
    """float64[count]: the sums of the amounts (any number type or bool, [n]) by place (int64[n])."""
    return np.asarray(np.bincount(places, amounts, count), np.float64)


def wilson(value: float, n: float, z: float | None = None) -> tuple[float, float]:
    """Wilson's score interval for a share observed in `n` independent trials, n > 0 (may be fractional).

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n); z is 1.96, the 95 % interval, unless given.
    """
    z = quantile(np.inf) if z is None else z
    centre = value + z * z / (2 * n)
    half = z * np.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    width = 1 + z * z / n
    return max(0.0, float((centre - half) / width)), min(1.0, float((centre + half) / width))


def quantile(freedom: float) -> float:
    """The 97.5 % point of Student's t; of the normal distribution at inf degrees of freedom."""
    return float(scipy.special.stdtrit(min(freedom, 1e9), (1 + CONFIDENCE) / 2))


def _witnesses(values: Floats, weights: Floats, clusters: Ints) -> float:
    """Kish's effective number of clusters with the rarer answer; 0 for none."""
    rarer = weights * (values if weights @ values < weights @ (1 - values) else 1 - values)
    mass = totals(np.unique(clusters, return_inverse=True)[1], rarer, len(values))
    if not mass.any():
        return 0.0
    mass /= mass.max()  # squares of very small masses would be 0
    return float(mass.sum() ** 2 / (mass @ mass))


def _wilson_of(found: Mean, witnesses: float) -> tuple[float, float]:
    spread = found.value * (1 - found.value)
    if found.worth == np.inf and not found.error:
        return found.value, found.value
    if not found.freedom:
        return 0.0, 1.0
    inverse = found.error**2 / spread if spread > 0 else 0.0
    size = (witnesses + CAUTION) / (witnesses * inverse + CAUTION / found.worth)
    return wilson(found.value, size, quantile(found.freedom))


def _collapsed(strata: Ints, population: Floats) -> tuple[Ints, Floats, Floats]:
    """Strata after collapsing: each cluster's stratum, and by stratum clusters drawn and population."""
    names, first, group = np.unique(strata, return_index=True, return_inverse=True)
    size = np.bincount(group).astype(np.float64)
    there = population[first]
    if (size > there).any():
        worst = int(np.argmax(size - there))
        raise InputError(f"{size[worst]:g} anchors of a stratum of {there[worst]:g} were drawn")
    lone = (size == 1) & (there > 1)
    if lone.sum() == 1 and len(names) > 1:  # it is joined with another stratum
        lone[np.flatnonzero(~lone)[0]] = True
    if lone.sum() > 1:
        group = np.unique(np.where(lone, len(names), np.arange(len(names)))[group], return_inverse=True)[1]
        there = np.append(there[~lone], there[lone].sum())
        size = np.bincount(group).astype(np.float64)
    return group, size, there


def _freedom(part: Floats, size: Floats, fraction: Floats) -> float:
    """Satterthwaite's degrees of freedom of the sum of the strata's variances; see `mean`."""
    design = float(np.maximum(size - 1, 0).sum())
    if (fraction == 1).all():
        return np.inf
    if not design or not part.any():
        return design
    known, relative = size > 1, part / part.max()  # squares of very small variances would be 0
    return min(design, float(relative.sum() ** 2 / np.sum(relative[known] ** 2 / (size[known] - 1))))
