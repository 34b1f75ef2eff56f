"""Tests of significance: paired differences, and several tests at once."""

from collections.abc import Sequence

import numpy as np

from mmprod.eval.estimate import Floats

ROUNDS = 9_999
CELLS = 4_000_000
"""Signs drawn at a time."""


def sign_flip(differences: Floats, seed: int) -> float:
    """Two-sided p of the paired randomisation test: how often random signs sum to as much or more.

    If at each anchor the two systems might as well have been exchanged, every difference could as well
    have the other sign (Fisher, Design of Experiments, 1935; for retrieval Smucker, Allan & Carterette,
    CIKM 2007). Weighted differences are exchanged as they are, so anchors may weigh differently. ROUNDS
    random assignments; (1 + as extreme ones) / (1 + ROUNDS), never 0 (Phipson & Smyth, SAGMB 9, 2010).
    1 where there is no difference. scipy's permutation_test does the same in twenty times the time.

    Args: differences float64[n], weights multiplied in; the same seed gives the same p.
    """
    noise = 1e-12 * float(np.abs(differences).sum())  # what adding up in another order may change
    moved = differences[np.abs(differences) > noise]
    if not len(moved):
        return 1.0
    total, random = float(moved.sum()), np.random.default_rng(seed)
    least = abs(total) - noise
    extreme, left = 0, ROUNDS
    while left:
        rounds = min(left, max(1, CELLS // len(moved)))
        plus = random.integers(0, 2, (rounds, len(moved)), dtype=np.int8)
        extreme += int(np.count_nonzero(np.abs(2 * (plus @ moved) - total) >= least))
        left -= rounds
    return (1 + extreme) / (1 + ROUNDS)


def holm(p_values: Sequence[float]) -> list[float]:
    """p of several tests, adjusted: at most a share L of such families have one at or below L by chance.

    Holm, Scandinavian Journal of Statistics 6 (1979), however the tests depend on each other. The same
    as statsmodels' multipletests, which stops for a garbage collection of a tenth of a second each time.
    """
    p = np.array(p_values, np.float64)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return [float(value) for value in np.minimum(adjusted, 1)]
