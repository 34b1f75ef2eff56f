import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.eval.estimate import bootstrap, mean, quantile, share, wilson
from mmprod.storage.errors import InputError

INF = np.inf


def of(values, weights=None, clusters=None, strata=None, population=INF, within=None):
    n = len(values)
    return (
        np.array(values, np.float64),
        np.ones(n) if weights is None else np.array(weights, np.float64),
        np.arange(n) if clusters is None else np.array(clusters),
        np.zeros(n, np.int64) if strata is None else np.array(strata),
        np.broadcast_to(np.asarray(population, np.float64), (n,)),
        None if within is None else np.array(within, np.float64),
    )


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_published_values(hits, n, low, high):
    assert wilson(hits / n, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(1 - hits / n, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_quantiles_against_tables():
    found = [quantile(freedom) for freedom in (1, 5, 30, INF)]
    assert found == pytest.approx([12.706, 2.571, 2.042, 1.960], abs=5e-4)


def test_a_simple_random_sample_has_the_textbook_variance():
    """Cochran 1977, 3.2: v = (1 - f) pq / (n - 1)."""
    found = mean(*of([1, 1, 1, 0, 0, 1, 1, 0], population=20))
    assert found.value == 5 / 8 and found.freedom == 7
    assert found.error**2 == pytest.approx((1 - 8 / 20) * (5 / 8 * 3 / 8) / 7)
    assert found.worth == pytest.approx(8 / (1 - 8 / 20))


def test_a_stratified_mean_has_the_textbook_variance():
    """Cochran 1977, 5.13: Σ W_h² (1 - f_h) s_h² / n_h."""
    values, strata = [0.2, 0.4, 0.9, 0.1, 0.3], [0, 0, 0, 1, 1]
    weights = [100 / 3] * 3 + [50 / 2] * 2
    found = mean(*of(values, weights, strata=strata, population=[100.0] * 3 + [50.0] * 2))
    first, second = np.array(values[:3]), np.array(values[3:])
    assert found.value == pytest.approx((100 * first.mean() + 50 * second.mean()) / 150)
    # z are residuals from the mean over all; about the stratum's own mean they are the stratum's own
    want = (2 / 3) ** 2 * 0.97 * first.var(ddof=1) / 3 + (1 / 3) ** 2 * 0.96 * second.var(ddof=1) / 2
    assert found.error**2 == pytest.approx(want)
    parts = ((2 / 3) ** 2 * 0.97 * first.var(ddof=1) / 3, (1 / 3) ** 2 * 0.96 * second.var(ddof=1) / 2)
    assert found.freedom == pytest.approx(want**2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1))


def test_pairs_of_an_anchor_are_not_independent():
    """Cochran 1977, 9A.2 for clusters of equal size: the variance is between the clusters' means."""
    alike = mean(*of([1, 1, 0, 0], clusters=[0, 0, 1, 1]))
    apart = mean(*of([1, 0], clusters=[0, 1]))
    assert (alike.value, alike.error, alike.freedom) == (apart.value, apart.error, apart.freedom)
    assert mean(*of([1, 0, 1, 0], clusters=[0, 0, 1, 1])).error == 0


def test_a_ratio_is_linearised():
    """Cochran 1977, 2.11: v = Σ (y_i - r x_i)² / ((n - 1) n x̄²), with clusters of 1, 2 and 3 rows."""
    found = mean(*of([1, 0, 1, 1, 1, 0], clusters=[0, 1, 1, 2, 2, 2]))
    residuals = np.array([1 - 4 / 6, 1 - 8 / 6, 2 - 12 / 6])
    assert found.error**2 == pytest.approx(np.sum(residuals**2) / (2 * 3 * 2**2))


def test_what_drawing_pairs_adds_remains_where_all_anchors_were_drawn():
    within = [[0.25, 0.0, 0.0], [0.25, 0.0, 0.0]]
    assert mean(*of([1, 0], population=2, within=within)).error ** 2 == pytest.approx(0.5 / 4)
    assert mean(*of([1, 0], population=2)).error == 0
    # from an endless population the spread between the anchors has it in already
    assert mean(*of([1, 0], within=within)).error == mean(*of([1, 0])).error
    # coefficients of r: c0 - 2 r c1 + r² c2 at r = 1/2
    assert mean(*of([1, 0], population=2, within=[[1, 1, 1], [0, 0, 0]])).error ** 2 == pytest.approx(
        0.25 / 4
    )


def test_where_everything_was_seen_there_is_no_interval():
    found = share(*of([1, 0, 1, 1], population=4))
    assert (found.value, found.low, found.high, found.n) == (0.75, 0.75, 0.75, 4)


def test_one_anchor_of_several_says_nothing():
    found = share(*of([1, 1, 0], clusters=[0, 0, 0]))
    assert (found.low, found.high) == (0, 1)


def test_strata_of_one_anchor_are_collapsed():
    lone = mean(*of([1, 0, 1], strata=[0, 1, 2]))
    together = mean(*of([1, 0, 1], strata=[0, 0, 0]))
    assert (lone.error, lone.freedom) == (together.error, together.freedom)
    joined = mean(*of([1, 0, 1, 0], strata=[0, 0, 0, 1]))  # a single lone one joins a neighbour
    assert joined.error == mean(*of([1, 0, 1, 0])).error
    alone = mean(
        *of([1, 0, 1], strata=[0, 0, 1], population=[9.0, 9.0, 1.0])
    )  # all of its stratum: no spread
    assert alone.freedom == 1


def test_alike_answers_give_the_interval_of_their_anchors():
    """Ten anchors of five pairs each, all the same: they may be worth no more than ten answers."""
    found = share(*of([1] * 50, clusters=np.repeat(np.arange(10), 5)))
    assert (found.low, found.high) == pytest.approx(wilson(1, 10, quantile(9)))
    assert found.low > share(*of([1] * 10, weights=[5] + [1] * 9)).low  # unequal weights are worth less


def test_the_rarer_answer_of_few_anchors_is_taken_with_caution():
    rare, common = np.array([0.9] + [1.0] * 39), np.array([0.9] * 20 + [1.0] * 20)
    for values, least in ((rare, 2.0), (common, 1.0)):
        found = mean(*of(values))
        size = found.value * (1 - found.value) / found.error**2
        plain = wilson(found.value, size, quantile(39))
        cautious = share(*of(values))
        ratio = (found.value - cautious.low) / (found.value - plain[0])
        assert ratio > least and cautious.low < plain[0]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.floats(0.01, 1e6), st.integers(0, 5), st.integers(0, 3), st.integers(6, 90)
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_sample_gives_an_interval_around_its_value(rows):
    values, weights, cluster, strata, population = (np.array(column) for column in zip(*rows, strict=True))
    largest = population[[int(np.argmax(strata == h)) for h in strata]]  # one population per stratum
    found = share(values, weights, cluster + 10 * strata, strata, largest.astype(float))
    assert 0 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 1
    same = share(values, weights * 7, cluster + 10 * strata, strata, largest.astype(float))
    assert (same.value, same.low, same.high) == pytest.approx((found.value, found.low, found.high))


def test_a_domain_keeps_the_anchors_outside_it_in_the_count_of_drawn_ones():
    """Cochran 1977, 2.13: the anchors outside add n_h to the factor n/(n-1), and nothing else here."""
    inside = mean(*of([1, 0, 1]))
    with_others = mean(*of([1, 0, 1, 0, 0], weights=[1, 1, 1, 0, 0]))
    assert with_others.error**2 / inside.error**2 == pytest.approx((5 / 4) / (3 / 2))
    assert share(*of([1, 0, 1, 0, 0], weights=[1, 1, 1, 0, 0])).n == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (of([]), "0 rows with weights that sum to 0"),
        (of([1], weights=[0]), "1 rows with weights that sum to 0"),
        (of([1, 1], weights=[3, -1]), "nothing to average"),
        (of([1, 1.5]), "found 1 to 1.5"),
        (of([1, math.nan]), "found nan to nan"),
        (of([1, 1, 0], population=2), "3 anchors of a stratum of 2 were drawn"),
    ],
)
def test_what_cannot_be_estimated_is_refused(rows, message):
    with pytest.raises(InputError, match=message):
        share(*rows)


def test_the_bootstrap_is_seeded_and_as_wide_as_students_interval():
    values = np.random.default_rng(0).normal(0.5, 0.1, 300)
    strata = np.repeat([0, 1, 2], 100)
    sums = np.stack([values, np.ones(300)], axis=1)
    ratio = lambda totals: (totals[0] / totals[1])[None]  # noqa: E731
    low, high = bootstrap(ratio, sums, strata, seed=3)
    assert bootstrap(ratio, sums, strata, seed=3) == (low, high) != bootstrap(ratio, sums, strata, seed=4)
    wanted = mean(*of(values, strata=strata)).interval
    assert high - low == pytest.approx(wanted[1] - wanted[0], rel=0.1)
    assert low < values.mean() < high


def test_the_bootstrap_of_small_strata_is_not_too_narrow():
    """Drawing n of n would make the variance of strata of two half of what it is (Rao & Wu 1988)."""
    rng = np.random.default_rng(1)
    values, strata = rng.normal(size=400), np.repeat(np.arange(200), 2)
    low, high = bootstrap(lambda totals: totals, values[:, None] / 400, strata, seed=0)
    wanted = mean(*of(values, strata=strata)).error
    assert (high - low)[0] / (2 * 1.96) == pytest.approx(wanted, rel=0.1)


def test_one_anchor_alone_tells_nothing_but_its_value():
    one = np.ones(1)
    within = np.array([[0.1, 0.05, 0.02]])
    found = share(0.4 * one, one, np.zeros(1, int), np.zeros(1, int), 1e9 * one, within)
    assert (found.value, found.low, found.high) == (pytest.approx(0.4), 0, 1)


def test_answers_all_alike_are_no_certainty_where_half_of_the_pairs_are_unknown():
    """All 9 anchors were asked about half of their pairs: that is worth 18 anchors, not all there is."""
    nine, none = np.ones(9), np.zeros((9, 3))
    rows = (0 * nine, nine, np.arange(9), np.zeros(9, int), 9 * nine, none)
    assert (share(*rows).low, share(*rows).high) == (0, 0)
    found = share(*rows, 0.5 * nine)
    assert found.low == 0
    assert found.high == pytest.approx(wilson(0, 18)[1])
