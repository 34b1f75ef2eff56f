from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.schemas import JUDGEMENT
from mmprod.eval.judgements import decide, latest

START = datetime(2025, 3, 1, tzinfo=UTC)


def judgements(*answers):
    rows = [
        {
            "pair_id": pair,
            "anchor_id": "a",
            "product_id": "b",
            "label": label,
            "reviewer": reviewer,
            "judged_at": START + timedelta(hours=hour),
            "sheet": "s.csv",
        }
        for pair, reviewer, label, hour in answers
    ]
    return pa.Table.from_pylist(rows, schema=JUDGEMENT)


def test_the_latest_answer_counts_and_then_the_majority():
    table = judgements(
        ("p", "ann", True, 1),
        ("p", "ann", False, 5),
        ("p", "ann", True, 2),  # came in later, was given earlier
        ("p", "bo", False, 1),
        ("p", "cy", True, 1),
        ("q", "ann", True, 1),
        ("q", "bo", False, 1),
        ("r", "bo", True, 1),
    )
    verdicts = decide(table)
    assert verdicts.same == {"p": False, "r": True} and verdicts.unresolved == ("q",)


def test_of_two_answers_at_the_same_time_the_one_further_down_counts():
    assert decide(judgements(("p", "ann", True, 1), ("p", "ann", False, 1))).same == {"p": False}


def test_nothing_judged():
    assert decide(judgements()).same == {}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("pqr"), st.sampled_from("abcd"), st.booleans(), st.integers(0, 3)),
        max_size=40,
    )
)
def test_equal_to_a_dict_model_and_the_same_upload_again_changes_nothing(answers):
    last = {}
    for pair, reviewer, label, _ in sorted(answers, key=lambda answer: answer[3]):
        last[pair, reviewer] = label
    votes = {}
    for (pair, _), label in last.items():
        votes[pair] = votes.get(pair, 0) + (1 if label else -1)
    verdicts = decide(judgements(*answers))
    assert verdicts.same == {pair: margin > 0 for pair, margin in votes.items() if margin}
    assert verdicts.unresolved == tuple(sorted(pair for pair, margin in votes.items() if not margin))
    again = latest(pa.concat_tables([judgements(*answers)] * 2))
    assert sorted(map(str, again.to_pylist())) == sorted(map(str, latest(judgements(*answers)).to_pylist()))
