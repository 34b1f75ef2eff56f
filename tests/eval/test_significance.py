import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.multitest import multipletests

from mmprod.eval.significance import holm, sign_flip


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([-1.5, -1, -0.5, 0, 0.5, 1, 2]), max_size=9))
def test_sign_flip_is_scipys_exact_test(differences):
    moved = np.array([value for value in differences if value], float)
    exact = 1.0
    if len(moved) > 1:
        exact = permutation_test((moved,), np.sum, permutation_type="samples", n_resamples=1_000).pvalue
    assert sign_flip(np.array(differences, float), seed=0) == pytest.approx(exact, abs=0.025)


def test_rounding_noise_is_no_difference_and_changes_nothing():
    moved = np.array([0.3, -0.1, 0.2] * 9)
    noisy = np.concatenate([moved + 1e-17, np.full(50, 1e-17)])
    assert sign_flip(noisy, seed=1) == sign_flip(moved, seed=1)
    assert sign_flip(np.zeros(5), seed=0) == sign_flip(np.zeros(0), seed=0) == 1


def test_a_clear_difference_among_very_many():
    differences = np.random.default_rng(0).normal(0.05, 1, 10_000)
    assert sign_flip(differences, seed=0) < 0.001


@settings(max_examples=20, deadline=None)  # statsmodels takes .1 s for each
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_of_nothing():
    assert holm([]) == []
