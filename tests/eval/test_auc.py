import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mmprod.eval.auc import auc, interval


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(1, 5)), max_size=40))
def test_one_fold_is_sklearns_weighted_auc(rows):
    rows = [*rows, (True, 2, 1), (False, 3, 2)]
    same, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    scores, weights = scores / 4, weights.astype(float)
    found = auc(scores, same, weights, np.zeros(len(rows), np.int64))
    assert found.value == pytest.approx(roc_auc_score(same, scores, sample_weight=weights))
    assert found.influence.sum() == pytest.approx(0, abs=1e-9)


def test_only_scores_of_one_fold_are_compared():
    # Fold 0: one of one two in order; fold 1: none of two. Between the folds any order goes.
    same = np.array([True, False, True, False, False])
    scores = np.array([2.0, 1.0, 5.0, 6.0, 7.0])
    assert auc(scores, same, np.ones(5), np.array([0, 0, 1, 1, 1])).value == pytest.approx(1 / 3)


def test_a_fold_with_one_answer_throughout_says_nothing():
    same, scores = np.array([True, False, True]), np.array([2.0, 1.0, 0.0])
    assert auc(scores, same, np.ones(3), np.array([0, 0, 1])).value == 1


@pytest.mark.slow
def test_coverage_with_answers_in_clusters():
    random, covered, rounds = np.random.default_rng(2), 0, 300
    truth = norm.cdf(1.2 / np.sqrt(2 * 1.25))  # of two anchors; twos of one are 1 in 80
    anchor = np.repeat(np.arange(80), 5)
    for _ in range(rounds):
        same = random.random(400) < random.beta(2, 2, 80)[anchor]
        scores = random.normal(0, 0.5, 80)[anchor] + random.normal(size=400) + 1.2 * same
        low, high = interval(auc(scores, same, np.ones(400), np.zeros(400, np.int64)), anchor, anchor * 0)
        covered += low <= truth <= high
    assert abs(covered / rounds - 0.95) < 0.035


def test_one_cluster_has_no_interval():
    found = auc(np.array([1.0, 0.0]), np.array([True, False]), np.ones(2), np.zeros(2, np.int64))
    assert interval(found, np.zeros(2, np.int64), np.zeros(2, np.int64)) == (None, None)
