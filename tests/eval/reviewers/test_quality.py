import numpy as np
import pytest

from mmprod.eval.reviewers.quality import QUALITY, quality
from mmprod.storage.errors import InputError


def test_by_hand(judgements):
    table = judgements(
        *[("g1", name, 1) for name in ("ann", "bo")],
        *[("g2", name, label) for name, label in (("ann", 0), ("bo", 1))],
        *[("p", name, label) for name, label in (("ann", 1), ("bo", 1), ("cy", 0))],
        ("p", "ann", 1, 5, True),
        ("q", "ann", 0, 5, True),  # its first answer was left open: not a repetition
        ("g1", "bo", 0, 5, True),
    )
    found = quality(table, {"g1": True, "g2": False, "unasked": True})
    assert found.schema == QUALITY
    ann, bo, cy = found.to_pylist()
    assert [row["answers"] for row in (ann, bo, cy)] == [3, 3, 1]
    assert ann["same_share"] == pytest.approx(2 / 3) and bo["same_share"] == 1
    assert (ann["gold"], ann["gold_right"]) == (2, 1.0) and (bo["gold"], bo["gold_right"]) == (2, 0.5)
    assert (ann["gold_low"], ann["gold_high"]) == (pytest.approx(0.3424, abs=1e-4), 1)  # 1/(1 + z²/2)
    assert (ann["repeats"], ann["repeats_alike"]) == (1, 1.0) and bo["repeats_alike"] == 0.0
    # ann: p is 1:1 without her; bo alone answered g1 and g2 with her.
    assert (ann["shared"], ann["with_others"]) == (2, 0.5)
    assert (cy["shared"], cy["with_others"]) == (1, 0.0)
    assert cy["gold"] == cy["repeats"] == 0
    assert cy["gold_right"] is cy["gold_low"] is cy["repeats_alike"] is None
    assert {row["note"] for row in (ann, bo, cy)} == {""}  # so few answers tell nothing


def survey(random, accuracy, anchors=60):
    """Answers of reviewers right as often as `accuracy` says, to their own anchors of four pairs each,
    to thirty gold pairs of everybody's, and to a fifth of their own pairs again."""
    gold = {f"g{i}/x": bool(random.random() < 0.5) for i in range(30)}
    answers = []
    for name, right in accuracy.items():
        truth = {f"{name}{i // 4}/{i}": bool(random.random() < 0.6) for i in range(4 * anchors)}
        for pair, same in (truth | gold).items():
            answers.append((pair, name, same == bool(random.random() < right)))
        for pair in list(truth)[::5]:
            answers.append((pair, name, truth[pair] == bool(random.random() < right), 1, True))
    return answers, gold


def test_the_careless_are_named_and_nobody_else(judgements):
    random = np.random.default_rng(1)
    answers, gold = survey(random, {"ann": 0.95, "bo": 0.97, "cy": 0.93, "guesser": 0.5})
    answers += [(f"z{i}", "yes-man", True) for i in range(40)] + [(pair, "yes-man", True) for pair in gold]
    notes = {row["reviewer"]: row["note"] for row in quality(judgements(*answers), gold).to_pylist()}
    assert notes["ann"] == notes["bo"] == notes["cy"] == ""
    assert "of 30 gold pairs right, the others" in notes["guesser"]
    assert "of 48 repeated pairs answered as at first, the others" in notes["guesser"]
    assert "all 70 answers are the same" in notes["yes-man"]


def test_one_anchor_all_alike_is_no_doubt_and_neither_is_what_all_others_say_too(judgements):
    one_anchor = [(f"a/{i}", "ann", True) for i in range(50)]
    others = [(f"b{i}", "bo", i % 2) for i in range(50)]
    assert quality(judgements(*one_anchor, *others), {})["note"].to_pylist() == ["", ""]
    easy = [(f"c{name}{i}", name, i != 7 or name == "di") for i in range(60) for name in ("cy", "di", "eve")]
    assert set(quality(judgements(*easy), {})["note"].to_pylist()) == {""}


@pytest.mark.slow
def test_equally_careful_reviewers_are_seldom_named(judgements):
    random, named = np.random.default_rng(5), 0
    for _ in range(150):
        answers, gold = survey(random, dict.fromkeys(["ann", "bo", "cy", "di"], 0.9), anchors=5)
        named += any(quality(judgements(*answers), gold)["note"].to_pylist())
    assert named <= 150 * 0.05 + 2 * np.sqrt(150 * 0.05 * 0.95)


def test_nobody_and_other_tables(judgements):
    assert quality(judgements(), {"g": True}).num_rows == 0
    with pytest.raises(InputError, match="is missing"):
        quality(judgements().drop_columns(["label"]), {})


@pytest.mark.slow
def test_a_million_judgements(random_judgements):
    table = random_judgements(1_000_000)
    found = quality(table, dict.fromkeys(table["pair_id"][:1000].to_pylist(), True))
    assert found.num_rows == 12 and set(found["note"].to_pylist()) == {""}
