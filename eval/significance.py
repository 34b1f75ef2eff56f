"""Tests of significance: for paired differences, and the correction for several tests."""

from collections.abc import Sequence

import numpy as np

from mmprod.eval.estimate import Floats

ROUNDS = 9_999
CELLS = 4_000_000
"""Random signs per block."""


def sign_flip(differences: Floats, seed: int) -> float:
    """Two-sided p of the paired randomisation test: how often random signs give at least this absolute sum.

    Under the null hypothesis the two systems are exchangeable at each anchor, so every difference has a
    random sign (Fisher, Design of Experiments, 1935; for retrieval Smucker, Allan & Carterette, CIKM 2007).
    The signs of weighted differences are flipped, so anchors may have different weights. With ROUNDS random
    assignments, p = (1 + number at least as extreme) / (1 + ROUNDS), never 0 (Phipson & Smyth, SAGMB 9,
    2010); 1 if there is no difference. scipy's permutation_test takes twenty times as long.

    Args: differences float64[n], weights multiplied in; the same seed gives the same p.
    """
    noise = 1e-12 * float(np.abs(differences).sum())  # possible effect of another order of summation
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
    """Adjusted p of several tests: the probability that any is at or below L by chance is at most L.

    Holm, Scandinavian Journal of Statistics 6 (1979), valid for any dependence of the tests. Equal to
    statsmodels' multipletests, which runs a garbage collection of a tenth of a second at each call.
    """
    p = np.array(p_values, np.float64)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return [float(value) for value in np.minimum(adjusted, 1)]
