from itertools import pairwise
from math import isclose, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.eval.survey.frame import Stratum
from mmprod.eval.survey.plan import plan, spread
from mmprod.storage.errors import InputError

Z = 1.959963984540054
SHOP = [
    Stratum("Home", "top 10 %", 1_000),
    Stratum("Home", "10–50 %", 40_000),
    Stratum("Home", "rest", 59_000),
    Stratum("Shoes", "rest", 5),
]


@given(total=st.integers(0, 200), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_parts_are_equal_while_they_last(total, sizes):
    parts = spread(total, sizes)
    assert sum(parts) == min(total, sum(sizes))
    assert all(0 <= part <= size for part, size in zip(parts, sizes, strict=True))
    open_ = [part for part, size in zip(parts, sizes, strict=True) if part < size]
    assert not open_ or max(parts) - min(open_) <= 1
    more = spread(total + 1, sizes)
    assert all(a <= b for a, b in zip(parts, more, strict=True))


def test_parts_by_hand():
    assert spread(10, [100, 100, 100]) == [3, 3, 4]
    assert spread(10, [2, 100, 1]) == [2, 7, 1]
    assert spread(10, [2, 3, 1]) == [2, 3, 1]


def test_one_band_needs_what_the_textbook_says():
    """z² p(1-p)/d² = 2401 independent pairs; ρ .3, m 5 make it 2.2 times as many, of 1056.4 anchors."""
    found = plan([Stratum("A", "rest", 10**9)], 5, 0.02, 1, {})
    assert found.total.anchors == 1057
    assert found.total.pairs == 5285
    assert 0.01999 < found.total.margin < 0.02


def test_the_correction_for_a_finite_population_is_of_the_anchors_part():
    """V = p(1-p) [ρ(1/n - 1/N) + (1-ρ)/(nm)]; solved for n: (ρ + (1-ρ)/m) / (V/p(1-p) + ρ/N)."""
    share, alike, size, m, margin = 0.8, 0.4, 2_000, 4, 0.03
    found = plan([Stratum("A", "rest", size)], m, margin, 1, {"A": (share, alike)})
    v = (margin / Z) ** 2 / (share * (1 - share))
    assert found.total.anchors == np.ceil((alike + (1 - alike) / m) / (v + alike / size)) == 331


def test_equal_parts_of_bands_cost_their_design_effect():
    """200 anchors of each of three bands, 1, 40 and 59 % of the category."""
    found = plan(SHOP[:3], 5, None, 600, {"Home": (0.9, 0.2)})
    assert set(found.anchors.values()) == {200}
    variance = (
        0.9
        * 0.1
        * sum(
            w * w * (0.2 * (1 - 200 / size) + 0.8 / 5) / 200
            for w, size in ((0.01, 1_000), (0.4, 40_000), (0.59, 59_000))
        )
    )
    assert isclose(found.categories[0].margin, Z * sqrt(variance))


def test_a_plan_adds_up():
    found = plan(SHOP, 4.5, None, 10, {})
    home, shoes = found.categories
    assert (home.category, home.population, home.anchors, home.pairs) == ("Home", 100_000, 10, 45)
    assert (shoes.category, shoes.population, shoes.anchors) == ("Shoes", 5, 5)
    assert (found.total.category, found.total.population, found.total.anchors) == ("all", 100_005, 15)
    weighted = (home.margin * 100_000 / 100_005) ** 2 + (shoes.margin * 5 / 100_005) ** 2
    assert isclose(found.total.margin, sqrt(weighted))


def test_where_all_anchors_are_not_enough_all_are_planned_and_the_margin_says_so():
    found = plan(SHOP, 5, 0.02, 1, {})
    shoes = found.categories[1]
    assert shoes.anchors == 5 and shoes.margin > 0.02
    assert found.categories[0].margin <= 0.02


def test_every_band_is_asked_about_whatever_is_wanted():
    assert list(plan(SHOP, 5, None, 1, {}).anchors.values()) == [2, 2, 2, 2]
    assert list(plan([Stratum("A", "rest", 1)], 1, None, 9, {}).anchors.values()) == [1]


def test_a_category_seen_at_a_hundred_percent_is_still_asked_about():
    certain = plan(SHOP, 5, 0.02, 1, {"Home": (1.0, 0.3)})
    assert certain == plan(SHOP, 5, 0.02, 1, {"Home": (0.95, 0.3)})
    assert certain.total.anchors > 100


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    pairs=st.floats(1, 20),
    prior=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_narrower_margin_needs_no_fewer_anchors_and_is_kept_where_it_can_be(sizes, pairs, prior):
    strata = [Stratum("A", f"band {i}", size) for i, size in enumerate(sizes)]
    plans = [plan(strata, pairs, margin, 1, {"A": prior}) for margin in (0.2, 0.1, 0.05, 0.02)]
    assert all(a.total.anchors <= b.total.anchors for a, b in pairwise(plans))
    for found, margin in zip(plans, (0.2, 0.1, 0.05, 0.02), strict=True):
        assert found.total.margin <= margin * (1 + 1e-9) or found.total.anchors == sum(sizes)
        assert all(1 <= n <= size for n, size in zip(found.anchors.values(), sizes, strict=True))


def test_the_margin_is_the_spread_of_simulated_surveys():
    """4,000 draws from one population of anchors with beta-distributed shares, ρ = 1 / (a + b + 1)."""
    random = np.random.default_rng(3)
    alike, share, pairs, sizes = 0.25, 0.7, 3, (150, 2_000, 4_000)
    a = share * (1 / alike - 1)
    truth = [random.beta(a, 1 / alike - 1 - a, size) for size in sizes]
    strata = [Stratum("A", f"band {i}", size) for i, size in enumerate(sizes)]
    found = plan(strata, pairs, 0.03, 1, {"A": (share, alike)})
    assert found.anchors["A", "band 0"] == 150, "the smallest band is drawn whole: its correction matters"
    estimates = np.zeros(4_000)
    for own, count in zip(truth, found.anchors.values(), strict=True):
        for i in range(len(estimates)):
            drawn = random.permutation(own)[:count] if count < len(own) else own
            estimates[i] += random.binomial(pairs, drawn).mean() / pairs * len(own) / sum(sizes)
    want = np.concatenate(truth).mean()
    assert abs(estimates.mean() - want) < 4 * estimates.std() / sqrt(len(estimates))
    assert isclose(Z * estimates.std(), found.total.margin, rel_tol=0.06)


@pytest.mark.parametrize(
    ("pairs", "margin", "anchors", "message"),
    [
        (0.5, None, 1, "pairs_per_anchor is 0.5, want at least 1"),
        (float("nan"), None, 1, "pairs_per_anchor is nan"),
        (1, None, 0, "anchors_per_category is 0, want at least 1"),
        (1, 0.0, 1, "margin is 0.0"),
        (1, 2.0, 1, "margin is 2.0"),
        (1, float("nan"), 1, "margin is nan"),
    ],
)
def test_counts_and_margins_that_mean_nothing_are_refused(pairs, margin, anchors, message):
    with pytest.raises(InputError, match=message):
        plan(SHOP, pairs, margin, anchors, {})


def test_no_strata_and_impossible_priors_are_refused():
    with pytest.raises(InputError, match="no strata"):
        plan([], 1, None, 1, {})
    with pytest.raises(InputError, match=r"'Home' has share 1\.5 and correlation 0"):
        plan(SHOP, 1, None, 1, {"Home": (1.5, 0)})
