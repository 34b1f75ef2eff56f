"""Surveys simulated by the thousand: are the figures right on average, and do the intervals hold?"""

import math

import numpy as np
import pytest

from mmprod.eval.figures.anchors import anchor_values
from mmprod.eval.figures.metrics import scopes
from mmprod.eval.measures.named import parse

SIZES = {
    ("large", "top"): 100,
    ("large", "rest"): 4_000,
    ("middle", "top"): 60,
    ("middle", "rest"): 900,
    ("small", "top"): 25,  # all of them are asked about
    ("small", "rest"): 120,
}
QUALITY = (0.85, 0.7, 0.6, 0.45, 0.5, 0.3)


def surveys(catalogue, rounds, size, bands, answered, measures, seed):
    """float64[rounds, 3] by (system, measure, scope): value, low and high of the pooled figures."""
    rng = np.random.default_rng(seed)
    seen: dict[tuple[int, str, str], list[tuple[float, float, float]]] = {}
    for _ in range(rounds):
        judged = catalogue.survey(rng, size, bands, answered)
        for system, name in enumerate(judged.systems):
            for measure in measures:
                values = anchor_values(judged, name, parse(measure), "pooled")
                for facet, scope, part in scopes(judged.sample, values.places):
                    if facet != "sales":
                        found = values.share(part)
                        seen.setdefault((system, measure, scope), []).append(
                            (found.value, found.low, found.high)
                        )
    return {key: np.array(rows) for key, rows in seen.items()}


def truth_of(catalogue, system, measure, scope):
    top = catalogue.top(system, int(measure.partition("@")[2] or catalogue.depth)).mean(1)
    return top.mean() if scope == "all" else top[catalogue.category == scope].mean()


def off_and_covered(catalogue, key, rows):
    """How many standard errors the mean estimate is off the truth; how many intervals have it in them."""
    truth = truth_of(catalogue, *key)
    error = rows[:, 0].std() / math.sqrt(len(rows))
    covered = np.mean((rows[:, 1] <= truth) & (truth <= rows[:, 2]))
    print(
        *key, f"truth {truth:.3f}, off by {(rows[:, 0].mean() - truth) / error:+.1f}, covered {covered:.3f}"
    )
    return (rows[:, 0].mean() - truth) / error, covered


@pytest.mark.slow
@pytest.mark.parametrize(("systems", "rounds"), [(1, 1_000), (2, 400)])
def test_figures_are_unbiased_and_intervals_hold(catalogue_of, systems, rounds):
    """Skewed categories, over-sampled bands, anchors that differ, ranks drawn in part, 10 % unanswered."""
    catalogue = catalogue_of(SIZES, QUALITY, systems)
    found = surveys(catalogue, rounds, 60, ((3, 3), (10, 2)), 0.9, ("precision", "P@10"), seed=1)
    assert len(found) == systems * 2 * 4
    for key, rows in found.items():
        off, covered = off_and_covered(catalogue, key, rows)
        assert abs(off) < 3.5, key
        assert 0.93 <= covered <= 0.97, key


@pytest.mark.slow
@pytest.mark.parametrize("size", [6, 40])
def test_intervals_hold_for_small_samples_and_shares_near_the_ends(catalogue_of, size):
    """They may be wider than need be, not narrower: the rarer answer is in one anchor of ten or twenty."""
    catalogue = catalogue_of(SIZES, (0.98, 0.95, 0.06, 0.03, 0.98, 0.96))
    found = surveys(catalogue, 300, size, ((3, 3), (10, 2)), 0.9, ("precision", "P@3"), seed=2)
    for key, rows in found.items():
        off, covered = off_and_covered(catalogue, key, rows)
        assert abs(off) < 3.5, key
        assert covered >= 0.93, key


def test_without_weights_the_figures_would_be_wrong(catalogue_of):
    """The same surveys, unweighted, are off by far more than the weighted ones vary."""
    catalogue = catalogue_of(SIZES, (0.98, 0.5, 0.9, 0.3, 0.9, 0.2))
    rng, plain, weighted = np.random.default_rng(3), [], []
    for _ in range(40):
        judged = catalogue.survey(rng, 60)
        plain.append(np.mean(list(judged.same.values())))
        weighted.append(anchor_values(judged, "s0", parse("P@10"), "pooled").share().value)
    truth = truth_of(catalogue, 0, "P@10", "all")
    error = np.std(weighted) / math.sqrt(40)
    assert abs(np.mean(weighted) - truth) < 3.5 * error < abs(np.mean(plain) - truth)
