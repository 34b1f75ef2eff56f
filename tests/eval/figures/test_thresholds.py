import numpy as np
import pytest

from mmprod.datasets.schemas import check
from mmprod.eval.figures.thresholds import THRESHOLD, curve, thresholds
from mmprod.storage.errors import InputError


@pytest.fixture
def judged(judged_of):
    """Scores are .99, .98, .97 and .96 by rank; the third product of b has no verdict."""
    found = {"s": {"a": list("wxyz"), "b": list("wxyz"), "e": ["w"]}}
    same = {"a/w": True, "a/x": True, "a/y": False, "a/z": True, "b/w": True, "b/x": False, "b/z": False}
    return judged_of(found, same | {"e/w": False}, category={"e": "d"})


def test_the_curve_by_hand(judged):
    threshold, precision, recall = curve(judged, "s", "c")
    assert threshold == pytest.approx([0.99, 0.98, 0.97, 0.96])
    third = 4 / 3  # each of b's verdicts stands for 4/3 products
    below = [1 + third, 2 * (1 + third), 3 + 2 * third, 4 + 3 * third]
    above = [1 + third, 2 + third, 2 + third, 3 + third]
    assert precision == pytest.approx(np.array(above) / below)
    assert recall == pytest.approx(np.array(above) / above[-1])
    assert curve(judged, "s")[1][0] == pytest.approx((1 + third) / (2 + third))


def test_the_smallest_threshold_that_is_precise_enough(judged):
    table = thresholds(judged, "s", [0.7, 0.5, 1.0])
    check(table, THRESHOLD, "thresholds")
    rows = {(r["category"], r["wanted"]): r for r in table.to_pylist()}
    assert set(rows) == {(c, w) for c in ("all", "c", "d") for w in (0.7, 0.5, 1.0)}
    assert rows["c", 0.7]["threshold"] == pytest.approx(0.98)
    assert (
        rows["c", 0.7]["precision"] == pytest.approx((2 + 4 / 3) / (2 + 8 / 3)) and rows["c", 0.7]["n"] == 4
    )
    assert rows["c", 1.0]["threshold"] == pytest.approx(0.99)
    assert rows["c", 0.5]["threshold"] == pytest.approx(0.96)
    assert all(r["low"] <= r["precision"] for r in rows.values() if r["low"] is not None)
    assert rows["d", 0.5] == {"system": "s", "category": "d", "wanted": 0.5} | dict.fromkeys(
        ("threshold", "precision", "low", "recall", "n")
    )


def test_the_threshold_holds_over_the_whole_catalogue(catalogue_of):
    """Ranks are scores here: a survey's threshold is off by a rank or so from the truth."""
    catalogue = catalogue_of({("c", "top"): 300, ("c", "rest"): 4000}, [0.8, 0.6])
    judged = catalogue.survey(np.random.default_rng(2), 250, ((3, 3), (10, 3)), answered=0.9)
    _, precision, recall = curve(judged, "s0", "c")
    same = catalogue.top(0, 10)
    truth = [same[:, :k].mean() for k in range(1, 11)]
    assert precision == pytest.approx(truth, abs=0.05)
    assert recall == pytest.approx(np.cumsum(same.sum(0)) / same.sum(), abs=0.05)


def test_what_cannot_be_wanted_is_refused(judged):
    for wanted in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="want shares above 0"):
            thresholds(judged, "s", [wanted])
    with pytest.raises(InputError, match="no anchor of category 'f'; there are c, d"):
        curve(judged, "s", "f")
    assert len(curve(judged, "s", "d")[0]) == 1
