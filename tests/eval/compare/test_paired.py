import numpy as np
import pyarrow.compute as pc
import pytest
from scipy.stats import ttest_rel

from mmprod.eval.compare.paired import CHANGED, DIFFERENCE, GAIN, business_gain, changed, compare
from mmprod.eval.judged import Judged
from mmprod.eval.measures.named import parse
from mmprod.storage.errors import InputError

MIXED = [("lamps", "top")] * 40 + [("lamps", "rest")] * 40 + [("bags", "rest")] * 40
WEIGHT = [1.0] * 40 + [20.0] * 40 + [5.0] * 40


def draw(random, better=0.0, k=5):
    """Lists of 120 anchors that differ in how hard they are; b's products are the same more often."""
    ease = random.beta(2, 2, (120, 1))
    return {
        "a": random.random((120, k)) < ease,
        "b": random.random((120, k)) < np.clip(ease + better, 0, 1),
    }


def test_by_hand(judged_of):
    a = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)
    b = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], bool)
    found = compare(judged_of({"a": a, "b": b}), "a", "b", [parse("P@2")])
    assert found.schema == DIFFERENCE and found["facet"].to_pylist() == ["all", "category", "sales"]
    row = found.to_pylist()[0]
    assert (row["scope"], row["measure"], row["a"], row["b"], row["n"]) == ("all", "P@2", "a", "b", 4)
    assert (row["value_a"], row["value_b"], row["difference"]) == (0.5, 0.75, 0.25)
    student = ttest_rel([1, 1, 1, 0], [0.5, 1, 0, 0.5]).confidence_interval()  # one stratum, equal weights
    assert (row["low"], row["high"]) == (pytest.approx(student.low), pytest.approx(student.high))
    # Of the signs of ½, 1 and -½ six of eight sum to 1 or more in absolute value: all but ½ - 1 + ½ = 0.
    assert row["p"] == pytest.approx(6 / 8, abs=0.02) and row["p_adjusted"] == row["p"]


def test_turned_round_only_the_sign_changes(judged_of):
    judged = judged_of(draw(np.random.default_rng(1), 0.1), MIXED, WEIGHT)
    for one, other in zip(
        compare(judged, "a", "b", [parse(name) for name in ("P@5", "AP@5", "precision")]).to_pylist(),
        compare(judged, "b", "a", [parse(name) for name in ("P@5", "AP@5", "precision")]).to_pylist(),
        strict=True,
    ):
        assert one["difference"] == pytest.approx(-other["difference"])
        assert (one["low"], one["high"]) == (pytest.approx(-other["high"]), pytest.approx(-other["low"]))
        assert one["p"] == pytest.approx(other["p"], abs=1e-9)


def test_differences_are_those_of_the_weighted_figures_by_scope(judged_of):
    hits = draw(np.random.default_rng(2), 0.1)
    found = compare(judged_of(hits, MIXED, WEIGHT), "a", "b", [parse("P@5")]).to_pylist()
    each = hits["b"].mean(axis=1) - hits["a"].mean(axis=1)
    values = {(row["facet"], row["scope"]): row["difference"] for row in found}
    parts = {
        ("all", "all"): slice(None),
        ("category", "bags"): slice(80, 120),
        ("category", "lamps"): slice(0, 80),
        ("sales", "rest"): slice(40, 120),
        ("sales", "top"): slice(0, 40),
    }
    assert values == {
        key: pytest.approx(np.average(each[part], weights=WEIGHT[part])) for key, part in parts.items()
    }


def test_precision_of_lists_of_unequal_length_is_compared_as_a_ratio(judged_of):
    # Every list has five products, so the ratio is the mean and the linearised values are the plain ones.
    judged = judged_of(draw(np.random.default_rng(3), 0.1), MIXED, WEIGHT)
    p5, precision = compare(judged, "a", "b", [parse("P@5")]), compare(judged, "a", "b", [parse("precision")])
    for name in ("difference", "low", "high", "p"):
        assert precision[name].to_pylist() == pytest.approx(p5[name].to_pylist())
    # b finds nothing for the second anchor: 5 of 6 against 10 of 12, the same.
    a = np.array([[1, 1, 1, 1, 1, 0]] * 2, bool)
    cut = judged_of({"a": a, "b": a})
    kept = [
        each.filter(pc.invert(pc.starts_with(each["product_id"], "a0001/b")))
        for each in (cut.candidates, cut.pairs)
    ]
    row = compare(Judged(cut.anchors, *kept, cut.same), "a", "b", [parse("precision")]).to_pylist()[0]
    assert (row["value_a"], row["value_b"]) == (pytest.approx(5 / 6), pytest.approx(5 / 6))


def test_no_difference_is_no_evidence(judged_of):
    hits = draw(np.random.default_rng(4))
    judged = judged_of({"a": hits["a"], "b": hits["a"]})
    row = compare(judged, "a", "b", [parse("P@5")]).to_pylist()[0]
    assert (row["difference"], row["p"], row["p_adjusted"], row["low"]) == (0, 1, 1, None)
    assert changed(judged, "a", "b", parse("P@5")).num_rows == 0


def test_changed_anchors_go_from_most_improved_to_most_worsened(judged_of):
    a = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)
    b = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], bool)
    found = changed(judged_of({"a": a, "b": b}, [("x", "top"), *[("y", "rest")] * 3]), "a", "b", parse("P@2"))
    assert found.schema == CHANGED
    assert found["anchor_id"].to_pylist() == ["a0002", "a0000", "a0003"]
    assert found["difference"].to_pylist() == [1.0, 0.5, -0.5]
    assert found["category"].to_pylist() == ["y", "x", "y"]


def test_business_gain(judged_of, caplog):
    judged = judged_of(draw(np.random.default_rng(5), 0.2), MIXED, WEIGHT)
    differences = compare(judged, "a", "b", [parse("P@5")])
    gains = business_gain(differences, {"lamps": 0.4, "toys": 1.0})
    lamps = next(row for row in differences.to_pylist() if row["scope"] == "lamps")
    assert gains.schema == GAIN and gains["scope"].to_pylist() == ["lamps"]
    row = gains.to_pylist()[0]
    assert (row["gain"], row["low"], row["high"]) == tuple(
        pytest.approx(0.4 * lamps[name]) for name in ("difference", "low", "high")
    )
    assert "'toys'" in caplog.text
    backwards = business_gain(differences, {"lamps": -1.0}).to_pylist()[0]
    assert backwards["low"] == -lamps["high"] < backwards["gain"] < backwards["high"] == -lamps["low"]


def test_refused(judged_of):
    judged = judged_of(draw(np.random.default_rng(6)))
    for systems, measure, message in (
        (("a", "a"), "P@5", "two systems, both are 'a'"),
        (("a", "c"), "P@5", "'c'"),
        (("a", "b"), "F1", "'F1' is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            compare(judged, *systems, [parse(measure)])


@pytest.mark.slow
def test_false_alarms_coverage_and_power_in_simulation(judged_of):
    random = np.random.default_rng(7)
    rounds, alarms, any_scope, covered, power = 200, 0, 0, 0, 0
    for _ in range(rounds):
        null = compare(judged_of(draw(random), MIXED, WEIGHT), "a", "b", [parse("P@5")]).to_pylist()
        alarms += null[0]["p"] <= 0.05
        any_scope += any(row["p_adjusted"] <= 0.05 for row in null if row["facet"] == "category")
        covered += null[0]["low"] <= 0 <= null[0]["high"]
        better = compare(judged_of(draw(random, 0.15), MIXED, WEIGHT), "a", "b", [parse("P@5")]).to_pylist()
        power += better[0]["p"] <= 0.05
    error = np.sqrt(0.05 * 0.95 / rounds)
    assert abs(alarms / rounds - 0.05) < 3 * error and any_scope / rounds < 0.05 + 3 * error
    assert abs(covered / rounds - 0.95) < 3 * error
    assert power / rounds > 0.8
