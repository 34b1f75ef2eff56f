from collections import Counter, defaultdict
from itertools import pairwise
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.schemas import PAIR, QUESTION, check
from mmprod.eval.survey.pair_ids import pair_id, repeat_id
from mmprod.eval.survey.questions import PAIR_KEYS, questions
from mmprod.storage.errors import InputError

REVIEWERS = ("Ana", "Bo", "Chen")


def pairs_of(sizes):
    """Anchor i with sizes[i] products."""
    rows = [
        {
            "pair_id": pair_id((f"a{i}", ""), (f"a{i}/{j}", "")),
            "anchor_id": f"a{i}",
            "product_id": f"a{i}/{j}",
            "rank": j + 1,
            "rank_band": 1,
            "weight": 1.0,
        }
        for i, size in enumerate(sizes)
        for j in range(size)
    ]
    return pa.Table.from_pylist(rows, schema=PAIR)


def gold_of(count):
    names = [(f"g{i}", f"h{i}") for i in range(count)]
    rows = [{"pair_id": pair_id((a, ""), (b, "")), "anchor_id": a, "product_id": b} for a, b in names]
    return pa.Table.from_pylist(rows, schema=PAIR_KEYS)


NO_GOLD = gold_of(0)


def ask(
    pairs,
    judged=frozenset(),
    gold=NO_GOLD,
    gold_share=0.0,
    repeat_share=0.0,
    reviewers=(),
    overlap=0.0,
    seed=1,
):
    table = questions(pairs, judged, gold, gold_share, repeat_share, reviewers, overlap, seed)
    check(table, QUESTION, "questions")
    return table


def sheets_of(table):
    sheets = defaultdict(list)
    for row in table.to_pylist():
        sheets[row["reviewer"]].append(row)
    return sheets


def test_without_reviewers_one_sheet_asks_every_pair_once():
    pairs = pairs_of([3, 1, 5])
    rows = ask(pairs).to_pylist()
    assert Counter(row["pair_id"] for row in rows) == Counter(pairs.column("pair_id").to_pylist())
    assert {row["reviewer"] for row in rows} == {""} and {row["role"] for row in rows} == {"asked"}
    assert all(row["question_id"] == row["pair_id"] for row in rows)
    anchors = [row["anchor_id"] for row in rows]
    assert sum(a != b for a, b in pairwise(anchors)) == 2, "an anchor's questions are together"


def test_only_pairs_without_a_judgement_are_asked():
    pairs = pairs_of([4, 4])
    names = pairs.column("pair_id").to_pylist()
    rows = ask(pairs, judged=set(names[:5])).to_pylist()
    assert {row["pair_id"] for row in rows} == set(names[5:])
    assert ask(pairs, judged=set(names), gold=gold_of(3), gold_share=0.5, repeat_share=0.5).num_rows == 0


def test_no_pairs_no_questions():
    assert ask(pairs_of([]), reviewers=REVIEWERS, overlap=0.5).equals(QUESTION.empty_table())


def test_two_anchors_that_found_each_other_are_asked_once():
    name = pair_id(("a", ""), ("b", ""))
    rows = [
        {"pair_id": name, "anchor_id": a, "product_id": b, "rank": 1, "rank_band": 1, "weight": 1.0}
        for a, b in (("a", "b"), ("b", "a"))
    ]
    assert ask(pa.Table.from_pylist(rows, schema=PAIR)).column("anchor_id").to_pylist() == ["a"]


def test_gold_and_repeats_have_their_shares():
    rows = ask(pairs_of([5] * 40), gold=gold_of(50), gold_share=0.1, repeat_share=0.05).to_pylist()
    assert Counter(row["role"] for row in rows) == {"asked": 200, "gold": 20, "repeat": 10}
    gold = set(gold_of(50).column("pair_id").to_pylist())
    assert all((row["pair_id"] in gold) == (row["role"] == "gold") for row in rows)
    assert len({row["question_id"] for row in rows}) == len(rows)


def test_gold_that_is_asked_for_the_figures_is_not_asked_twice():
    pairs = pairs_of([2, 2])
    rows = ask(pairs, gold=pairs.select(PAIR_KEYS.names), gold_share=1.0).to_pylist()
    assert Counter(row["role"] for row in rows) == {"asked": 4}


def test_a_repeat_is_its_first_with_sides_exchanged():
    rows = ask(pairs_of([3] * 30), repeat_share=0.3).to_pylist()
    first = {row["pair_id"]: row for row in rows if row["role"] == "asked"}
    repeats = [row for row in rows if row["role"] == "repeat"]
    assert len(repeats) == 27
    for row in repeats:
        once = first[row["pair_id"]]
        assert (row["anchor_id"], row["product_id"]) == (once["product_id"], once["anchor_id"])
        assert row["question_id"] == repeat_id(row["pair_id"])


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), max_size=25),
    golds=st.integers(0, 10),
    shares=st.tuples(*[st.floats(0, 1)] * 3),
    hands=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_every_sheet_is_fair_and_a_repeat_never_beside_its_first(sizes, golds, shares, hands, seed):
    gold_share, repeat_share, overlap = shares
    pairs = pairs_of(sizes)
    table = ask(
        pairs, frozenset(), gold_of(golds), gold_share, repeat_share, REVIEWERS[:hands], overlap, seed
    )
    reviewers_of = defaultdict(set)
    loads = dict.fromkeys(REVIEWERS[:hands] or ("",), 0)
    for reviewer, rows in sheets_of(table).items():
        asked = [row for row in rows if row["role"] == "asked"]
        loads[reviewer] = len(asked)
        roles = Counter(row["role"] for row in rows)
        assert roles["gold"] == min(golds, round(gold_share * len(asked)))
        assert roles["repeat"] <= round(repeat_share * len(asked))
        assert len({row["question_id"] for row in rows}) == len(rows)
        place = {row["question_id"]: i for i, row in enumerate(rows)}
        for row in rows:
            if row["role"] == "repeat":
                assert place[row["question_id"]] > place[row["pair_id"]] + 1
        whole = Counter(row["anchor_id"] for row in asked)
        assert all(count == sizes[int(anchor[1:])] for anchor, count in whole.items())
        for anchor in whole:
            reviewers_of[anchor].add(reviewer)
    assert len(reviewers_of) == len(sizes)
    twice = sum(len(names) == 2 for names in reviewers_of.values())
    assert twice == (round(overlap * len(sizes)) if hands > 1 else 0)
    assert max(loads.values()) - min(loads.values()) <= max(sizes, default=0)


@settings(max_examples=25, deadline=None)
@given(order=st.integers(0, 10**6))
def test_the_order_of_rows_does_not_matter(order):
    pairs, gold = pairs_of([3, 1, 4, 1, 5]), gold_of(9)

    def shuffled(table):
        rows = list(range(table.num_rows))
        Random(order).shuffle(rows)
        return table.take(rows)

    def sheets(pairs, gold):
        return ask(pairs, {pair_id(("a0", ""), ("a0/1", ""))}, gold, 0.4, 0.4, REVIEWERS, 0.4)

    assert sheets(shuffled(pairs), shuffled(gold)).equals(sheets(pairs, gold))


def test_another_seed_is_another_order_and_reviewers_get_other_gold():
    pairs, gold = pairs_of([2] * 60), gold_of(40)
    one = ask(pairs, gold=gold, gold_share=0.1, reviewers=REVIEWERS)
    assert not one.equals(ask(pairs, gold=gold, gold_share=0.1, reviewers=REVIEWERS, seed=2))
    golds = [{row["pair_id"] for row in rows if row["role"] == "gold"} for rows in sheets_of(one).values()]
    assert len(set.union(*golds)) > max(len(g) for g in golds)


@pytest.mark.parametrize("name", ["gold_share", "repeat_share", "overlap"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_out_of_zero_to_one_are_refused(name, share):
    with pytest.raises(InputError, match="want 0 to 1"):
        ask(pairs_of([1]), **{name: share})


@pytest.mark.parametrize("reviewers", [("Ana", "Ana"), ("Ana", "")])
def test_reviewers_need_names_each_once(reviewers):
    with pytest.raises(InputError, match="want names, each once"):
        ask(pairs_of([1]), reviewers=reviewers)


def test_other_tables_are_refused():
    with pytest.raises(InputError, match="pairs: column 'rank_band' is missing"):
        ask(pairs_of([1]).drop_columns("rank_band"))
    with pytest.raises(InputError, match="gold pairs: column 'anchor_id' is missing"):
        ask(pairs_of([1]), gold=gold_of(1).drop_columns("anchor_id"))
