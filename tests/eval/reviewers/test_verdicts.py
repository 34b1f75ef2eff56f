import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmprod.eval.reviewers.latest_answers import latest
from mmprod.eval.reviewers.verdicts import CONTESTED, contested, decide
from mmprod.storage.errors import InputError

ANSWERS = st.lists(
    st.tuples(
        st.sampled_from("pqr"), st.sampled_from("abcd"), st.booleans(), st.integers(0, 3), st.booleans()
    ),
    max_size=40,
)
POLICY = st.sampled_from(["majority", "unanimous"])
ADJUDICATORS = st.sets(st.sampled_from("abcz"))


def test_the_latest_answer_counts_and_then_the_majority(judgements):
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
    assert verdicts.same == {"p": False, "r": True}
    assert verdicts.unresolved == ("q",) and verdicts.contested == ("p", "q")


def test_unanimous_leaves_every_contested_pair_open(judgements):
    table = judgements(("p", "a", 1), ("p", "b", 1), ("p", "c", 0), ("q", "a", 0), ("q", "b", 0))
    verdicts = decide(table, "unanimous")
    assert verdicts.same == {"q": False} and verdicts.unresolved == verdicts.contested == ("p",)


def test_where_an_adjudicator_answered_nobody_else_has_a_vote(judgements):
    table = judgements(
        *[("p", name, True) for name in "abc"], ("p", "lead", False), ("q", "a", True), ("q", "b", False)
    )
    for policy in ("majority", "unanimous"):
        verdicts = decide(table, policy, ["lead"])
        assert verdicts.same == {"p": False} and verdicts.contested == ("p", "q")
    disagreeing = pa.concat_tables([table, judgements(("p", "head", True))])
    assert decide(disagreeing, adjudicators=["lead", "head"]).unresolved == ("p", "q")


def test_a_repeated_question_has_no_vote_and_does_not_replace_the_first_answer(judgements):
    table = judgements(("p", "a", True, 1), ("p", "a", False, 2, True), ("q", "a", False, 3, True))
    assert decide(table).same == {"p": True}
    assert latest(table, repeat=True)["pair_id"].to_pylist() == ["p", "q"]


def test_of_two_answers_at_the_same_time_the_one_further_down_counts(judgements):
    assert decide(judgements(("p", "ann", True, 1), ("p", "ann", False, 1))).same == {"p": False}


def test_nothing_judged(judgements):
    verdicts = decide(judgements(), adjudicators=["lead"])
    assert verdicts.same == {} and verdicts.unresolved == verdicts.contested == ()
    assert contested(judgements()).schema == CONTESTED


def test_contested_pairs_say_who_says_what(judgements):
    table = judgements(
        ("b/y", "eve", True, 1),
        ("b/y", "ann", True, 2),
        ("b/y", "bo", False, 3),
        ("a/x", "ann", True, 1),
        ("c/z", "ann", True, 1),
        ("c/z", "bo", False, 2),
        ("c/z", "bo", True, 3),  # corrected: no longer contested
    )
    assert contested(table).to_pylist() == [
        {"pair_id": "b/y", "anchor_id": "b", "product_id": "y", "same": ["ann", "eve"], "different": ["bo"]}
    ]


def test_another_policy_or_table_is_refused(judgements):
    with pytest.raises(InputError, match=r"'most' is unknown; there are majority and unanimous"):
        decide(judgements(), "most")
    for function in (decide, contested):
        with pytest.raises(InputError, match="judgements: column 'pair_id' is missing"):
            function(pa.table({"pair": ["p"]}))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=ANSWERS, policy=POLICY, adjudicators=ADJUDICATORS)
def test_equal_to_a_dict_model_and_the_same_upload_again_changes_nothing(
    judgements, answers, policy, adjudicators
):
    last = {}
    for pair, reviewer, label, _, repeat in sorted(answers, key=lambda answer: answer[3]):
        if not repeat:
            last[pair, reviewer] = label
    same, unresolved, divided = {}, [], []
    for pair in sorted({pair for pair, _ in last}):
        everyone = {name: label for (p, name), label in last.items() if p == pair}
        voters = {n: label for n, label in everyone.items() if n in adjudicators} or everyone
        yes, no = (list(voters.values()).count(label) for label in (True, False))
        if yes == no or (policy == "unanimous" and yes and no):
            unresolved.append(pair)
        else:
            same[pair] = yes > no
        if len(set(everyone.values())) > 1:
            divided.append(pair)
    table = judgements(*answers)
    for given_ in (table, pa.concat_tables([table] * 2)):
        verdicts = decide(given_, policy, sorted(adjudicators))
        assert verdicts.same == same
        assert verdicts.unresolved == tuple(unresolved) and verdicts.contested == tuple(divided)
        assert contested(given_)["pair_id"].to_pylist() == divided


@pytest.mark.slow
def test_a_million_judgements(random_judgements):
    table = random_judgements(1_000_000)
    verdicts = decide(table, adjudicators=["r7"])
    answered = table.filter(pc.invert(table["repeat"]))["pair_id"].unique()
    assert len(verdicts.same) + len(verdicts.unresolved) == len(answered)
