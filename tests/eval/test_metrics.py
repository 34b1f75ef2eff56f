import math

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.errors import InputError
from mmprod.datasets.schemas import METRIC, PAIR, check
from mmprod.eval.intervals import bootstrap_mean, effective_size, wilson
from mmprod.eval.metrics import judged_metrics, metric_table, pair_precision
from mmprod.eval.runs import Scores
from mmprod.eval.sample import sample_pairs


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


def test_effective_size_by_hand():
    ones = np.ones(4)
    hits = np.array([1.0, 1.0, 0.0, 0.0])
    # pairs of an anchor always agree: residuals ±1, v = 2/1 * (1 + 1) / 16 = 1/4, n = (1/4) / (1/4)
    assert effective_size(hits, ones, np.array(["a", "a", "b", "b"])) == pytest.approx(1)
    # four anchors: v = 4/3 * 4 * (1/2)² / 16 = 1/12, n = (1/4) / (1/12)
    assert effective_size(hits, ones, np.array(["a", "b", "c", "d"])) == pytest.approx(3)
    # all alike: Kish over the clusters, (3 + 1)² / (9 + 1)
    assert effective_size(ones[:3], np.array([1.0, 2.0, 1.0]), np.array(["a", "a", "b"])) == pytest.approx(
        1.6
    )
    # an anchor with as many hits as misses says nothing about the spread between anchors
    assert effective_size(np.array([1.0, 0, 1, 0]), ones, np.array(["a", "a", "b", "b"])) == pytest.approx(2)


def test_bootstrap_is_seeded_and_as_wide_as_the_normal_interval():
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    low, high = bootstrap_mean(values, np.ones(400), seed=3)
    assert (
        (low, high) == bootstrap_mean(values, np.ones(400), seed=3) != bootstrap_mean(values, np.ones(400), 4)
    )
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high


def test_means_by_category_by_hand():
    scores = Scores(("q1", "q2", "q3"), {"P@1": np.array([1.0, 0.0, 1.0]), "AP": np.array([0.5, 0.1, 0.3])})
    table = metric_table(scores, {"q1": "x", "q2": "y", "q3": "y"}, seed=0)
    check(table, METRIC, "metrics")
    found = {(r["scope"], r["measure"]): r for r in table.to_pylist()}
    assert next(iter(found)) == ("all", "P@1")
    values = {key: row["value"] for key, row in found.items()}
    assert values == pytest.approx(
        {("all", "P@1"): 2 / 3, ("all", "AP"): 0.3, ("x", "P@1"): 1, ("x", "AP"): 0.5, ("y", "P@1"): 0.5}
        | {("y", "AP"): 0.2}
    )
    assert found["x", "AP"]["low"] is None and found["x", "AP"]["n"] == 1
    assert (
        found["y", "P@1"]["low"] == 0.0 and found["y", "P@1"]["high"] == 1.0 and found["y", "P@1"]["n"] == 2
    )


def test_weights_count():
    scores = Scores(("q1", "q2"), {"P@1": np.array([1.0, 0.0])})
    table = metric_table(scores, {"q1": "x", "q2": "y"}, 0, weight_of={"q1": 3.0, "q2": 1.0})
    assert table["value"].to_pylist() == [0.75, 1, 0]


@pytest.mark.parametrize(
    ("categories", "weights", "message"),
    [
        ({"q1": "x"}, None, "'q2' has no category"),
        ({"q1": "x", "q2": "y"}, {"q1": 1.0}, "'q2' has no weight"),
        ({"q1": "x", "q2": "y"}, {"q1": 1.0, "q2": 0.0}, r"'q2' weighs 0\.0"),
        ({"q1": "x", "q2": "all"}, None, "a category is called 'all'"),
    ],
)
def test_what_cannot_be_averaged_is_refused(categories, weights, message):
    with pytest.raises(InputError, match=message):
        metric_table(Scores(("q1", "q2"), {"P@1": np.zeros(2)}), categories, 0, weights)


def pairs_of(*rows):
    names = ("pair_id", "anchor_id", "product_id", "rank", "stratum", "weight")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True), score=0.0) for row in rows], schema=PAIR)


PAIRS = pairs_of(
    ("p1", "a", "a1", 1, "big", 3.0),
    ("p2", "a", "a2", 2, "big", 3.0),
    ("p3", "b", "b1", 1, "big", 3.0),
    ("p4", "b", "b2", 2, "big", 3.0),
    ("p5", "c", "c1", 1, "small", 1.0),
    ("p6", "c", "c2", 2, "small", 1.0),
)


def test_pair_precision_by_hand():
    same = {"p1": True, "p2": False, "p3": True, "p5": False, "p6": False, "other": True}
    rows = {r["scope"]: r for r in pair_precision(PAIRS, same).to_pylist()}
    assert rows["all"]["value"] == pytest.approx(6 / 11)  # (3 + 0 + 3 + 0 + 0) / (9 + 2)
    assert rows["big"]["value"] == pytest.approx(2 / 3) and rows["big"]["n"] == 3
    assert rows["small"]["value"] == 0 and rows["small"]["low"] == 0 and rows["small"]["high"] < 1
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows.values())


def test_ranked_measures_over_the_anchors_judged_to_the_end():
    same = {"p1": False, "p2": True, "p3": True, "p5": False, "p6": False}  # anchor b is half done
    rows = judged_metrics(PAIRS, same, ["P@2", "AP@2"], seed=0).to_pylist()
    found = {(r["scope"], r["measure"]): (r["value"], r["n"]) for r in rows}
    assert found["all", "P@2"] == (pytest.approx(3 * 0.5 / 4), 2)
    assert found["all", "AP@2"] == (pytest.approx(3 * 0.5 / 4), 2)  # a: the only one at rank 2; c: none, 0
    assert found["small", "AP@2"] == (0, 1)
    assert ("all", "precision") in found


def test_a_cut_off_beyond_what_was_asked_is_refused():
    with pytest.raises(InputError, match=r"P@10 can't be told from pairs of rank 1 to 2"):
        judged_metrics(PAIRS, {"p1": True}, ["P@10"], seed=0)


def test_nothing_judged_is_refused():
    with pytest.raises(InputError, match="none of 6 pairs is judged"):
        pair_precision(PAIRS, {"other": True})


def test_weighted_precision_is_unbiased_and_its_interval_covers(recall_of):
    """200 surveys of a catalogue whose truth is known: small categories are asked about far more."""
    rng = np.random.default_rng(11)
    quality = {"A": 0.9, "B": 0.5, "C": 0.2}
    anchors = [f"{letter}{i}" for letter, n in (("A", 600), ("B", 150), ("C", 40)) for i in range(n)]
    batch = recall_of(anchors, 3)
    tendency = {a: rng.beta(6 * quality[a[0]], 6 * (1 - quality[a[0]])) for a in anchors}  # anchors differ
    truth = {p: bool(rng.random() < tendency[a]) for a, p in zip(*_ids(batch), strict=True)}
    want = np.mean(list(truth.values()))
    found, covered, naive = [], 0, []
    for seed in range(200):
        pairs = sample_pairs([batch], lambda ids: [i[0] for i in ids], 30, 3, seed)
        same = {n: truth[p] for n, p in zip(*_ids(pairs, "pair_id", "product_id"), strict=True)}
        row = pair_precision(pairs, same).to_pylist()[0]
        found.append(row["value"])
        covered += row["low"] <= want <= row["high"]
        naive.append(np.mean(list(same.values())))
    error = np.std(found) / math.sqrt(200)
    assert abs(np.mean(found) - want) < 3 * error
    assert abs(np.mean(naive) - want) > 30 * error  # so the weights are what does it
    assert covered >= 186  # 93 % of 200


def _ids(table, *names):
    return [table.column(name).to_pylist() for name in names or ("anchor_id", "product_id")]
