"""95 % intervals: Wilson's for shares, the bootstrap for means over queries."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Z = 1.959963984540054  # the 97.5 % point of the normal distribution
ROUNDS = 1_000


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share seen in `n` independent trials, n > 0 (may be fractional).

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Wilson, JASA 22 (1927); holds at 0 and 1 too.
    """
    centre = share + Z * Z / (2 * n)
    half = Z * np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    width = 1 + Z * Z / n
    return max(0.0, float((centre - half) / width)), min(1.0, float((centre + half) / width))


def effective_size(hits: Floats, weights: Floats, clusters: NDArray[Any]) -> float:
    """How many independent trials a weighted share of clustered answers is worth; at most the answers.

    The pairs of one anchor succeed and fail together, and unequal weights cost precision, so counting
    pairs would make intervals too narrow. n = p(1-p) / v with v the linearised variance of a ratio over
    clusters g, G/(G-1) Σ_g (Σ_i∈g w_i (y_i - p))² / (Σ w)² (Cochran, Sampling Techniques, 3rd ed., 1977).
    Where v says nothing (all answers alike, one cluster): Kish's (Σ W)² / Σ W² over the clusters.

    Args: hits float64[n] of 0 and 1; weights float64[n] > 0; clusters: any[n], the anchor of each.
    """
    _, group = np.unique(clusters, return_inverse=True)
    share = float(np.average(hits, weights=weights))
    residuals = np.bincount(group, weights * (hits - share))
    count = len(residuals)
    if count > 1 and residuals.any() and 0 < share < 1:
        variance = count / (count - 1) * float(np.sum(residuals**2)) / float(weights.sum()) ** 2
        return min(float(len(hits)), share * (1 - share) / variance)
    totals = np.bincount(group, weights)
    return float(totals.sum() ** 2 / np.sum(totals**2))


def bootstrap_mean(values: Floats, weights: Floats, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a weighted mean over queries: ROUNDS resamples of them.

    Args: values float64[n], weights float64[n] > 0, n > 0; the same seed gives the same interval.
    """
    # Queries alike in value and weight are drawn together: a million take few distinct values of P@10.
    kinds, counts = np.unique(values + 1j * weights, return_counts=True)
    random = np.random.default_rng(seed)
    means = np.empty(ROUNDS)
    for i in range(ROUNDS):  # a round at a time needs no more memory than the queries themselves
        drawn = random.multinomial(len(values), counts / len(values)) * kinds.imag
        means[i] = drawn @ kinds.real / drawn.sum()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
