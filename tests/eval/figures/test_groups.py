import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.cluster import pair_confusion_matrix

from mmprod.datasets.schemas import METRIC, check
from mmprod.eval.figures.groups import GROUPING, grouping, pure_groups
from mmprod.storage.errors import InputError


def values(predicted, truth):
    return {name: found.value for name, found in grouping(predicted, truth).items()}


def test_the_example_of_bagga_and_baldwin():
    """Two responses to chains of 5, 2 and 5: 12 mentions; the paper's figures 16/21 … are B³ 0.762, 1."""
    truth = dict(zip("123456789ABC", "aaaaabbccccc", strict=True))
    first = dict(zip("123456789ABC", "111112222222", strict=True))
    second = dict(zip("123456789ABC", "111112211111", strict=True))
    assert values(first, truth)["B³ precision"] == pytest.approx(16 / 21)
    assert values(second, truth)["B³ precision"] == pytest.approx(7 / 12)
    assert values(first, truth)["B³ recall"] == values(second, truth)["B³ recall"] == 1


def test_by_hand():
    truth = {"p": "x", "q": "x", "r": "x", "s": "y", "t": "y", "elsewhere": "x"}
    predicted = {"p": "1", "q": "1", "r": "2", "s": "2", "t": "3", "unknown": "1"}
    found = values(predicted, truth)
    assert found["pure"] == 1 / 2  # of groups 1 and 2; 3 is a single product
    assert (found["pair precision"], found["pair recall"]) == pytest.approx((1 / 2, 1 / 4))
    assert found["pair F1"] == pytest.approx(1 / 3)
    assert found["B³ precision"] == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1) / 5)
    assert found["B³ recall"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 5)
    assert {name: r.n for name, r in grouping(predicted, truth).items()} == dict.fromkeys(GROUPING, 5) | {
        "pure": 2
    }


names = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(names)
def test_equal_to_the_pair_confusion_matrix_and_to_the_definition_of_b_cubed(groups):
    predicted = {str(i): str(group) for i, (group, _) in enumerate(groups)}
    truth = {str(i): str(group) for i, (_, group) in enumerate(groups)}
    found = values(predicted, truth)
    (_, put_wrong), (missed, right) = pair_confusion_matrix(list(truth.values()), list(predicted.values()))
    assert ("pair precision" in found) == (right + put_wrong > 0)
    if right + put_wrong:
        assert found["pair precision"] == pytest.approx(right / (right + put_wrong))
    if right + missed:
        assert found["pair recall"] == pytest.approx(right / (right + missed))
    mine = {i: {j for j in predicted if predicted[j] == predicted[i]} for i in predicted}
    theirs = {i: {j for j in truth if truth[j] == truth[i]} for i in truth}
    assert found["B³ precision"] == pytest.approx(
        np.mean([len(mine[i] & theirs[i]) / len(mine[i]) for i in mine])
    )
    assert found["B³ recall"] == pytest.approx(
        np.mean([len(mine[i] & theirs[i]) / len(theirs[i]) for i in mine])
    )


def test_intervals_are_around_the_value_and_narrow_with_more_groups():
    rng = np.random.default_rng(0)
    widths = []
    for groups in (50, 800):
        truth = {str(i): str(i // 4) for i in range(4 * groups)}
        predicted = {i: group if rng.random() < 0.8 else f"alone {i}" for i, group in truth.items()}
        found = grouping(predicted, truth)
        assert all(r.low <= r.value <= r.high for r in found.values())
        assert found == grouping(predicted, truth)
        widths.append(found["pair recall"].high - found["pair recall"].low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.3)


def test_no_product_in_both_is_refused():
    with pytest.raises(InputError, match="none of 1 grouped products is among 2"):
        grouping({"a": "1"}, {"b": "x", "c": "x"})


def test_anchors_with_what_scores_enough_by_hand(judged_of):
    found = {"s": {"a": list("wxyz"), "b": list("wxyz"), "e": ["w"], "f": ["w"]}}
    same = {"a/w": True, "a/x": True, "a/y": False, "b/w": False, "e/w": True}
    judged = judged_of(found, same, category={"e": "d", "f": "d"})
    table = pure_groups(judged, "s", {"c": 0.975})  # the first two of a list; none of category d
    check(table, METRIC, "groups")
    rows = {(r["scope"], r["measure"]): r for r in table.to_pylist()}
    assert rows["c", "group purity"]["value"] == 1 / 2 and rows["c", "group purity"]["n"] == 2
    assert rows["c", "group size"]["value"] == 3 and rows["c", "group size"]["n"] == 2
    assert ("d", "group size") not in rows
    both = {r["scope"]: r for r in pure_groups(judged, "s", {"c": 0.9, "d": 0.995}).to_pylist()}
    assert both["d"]["value"] == 1  # nothing scores enough: the anchor alone
    with pytest.raises(InputError, match="no anchor of category 'g'"):
        pure_groups(judged, "s", {"g": 0.5})
