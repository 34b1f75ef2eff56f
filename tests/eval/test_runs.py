import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.eval.runs import evaluate_run, ranked_run, ranked_scores, same_items
from mmprod.storage.errors import InputError


def test_measures_by_hand():
    ranked = {"q": ["x", "a", "y", "b"], "none": ["x"], "tie": []}
    relevant = {"q": {"a", "b", "c"}, "none": set(), "tie": {"a"}, "absent": {"a"}}
    scores = ranked_scores(ranked, relevant, ["P@2", "P@10", "R@4", "AP@4", "AP@2", "Success@1", "RR"])
    assert scores.queries == ("absent", "none", "q", "tie")
    got = {name: values[2] for name, values in scores.values.items()}
    assert got == pytest.approx(
        {
            "P@2": 1 / 2,
            "P@10": 2 / 10,
            "R@4": 2 / 3,
            "AP@4": (1 / 2 + 2 / 4) / 3,  # R = 3, also at the cut-off of 2
            "AP@2": (1 / 2) / 3,
            "Success@1": 0,
            "RR": 1 / 2,
        }
    )
    assert all(values[[0, 1, 3]].sum() == 0 for values in scores.values.values())


names = st.sampled_from([f"d{i}" for i in range(12)])
runs = st.dictionaries(
    st.sampled_from("abcdef"),
    st.dictionaries(names, st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=12),
    max_size=6,
)
qrels = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.dictionaries(names, st.integers(0, 2), max_size=12),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(run=runs, judged=qrels)
def test_equal_to_trec_eval_and_to_the_formula_with_ties_and_missing_queries(run, judged):
    measures = ["P@3", "AP@3", "AP", "RR", "Success@1", "AP(rel=2)@5", "nDCG@5"]
    scores = evaluate_run(run, judged, measures)
    assert set(scores.queries) == set(judged)
    parsed = [ir_measures.parse_measure(m) for m in measures]
    for metric in ir_measures.iter_calc(parsed, judged, run):
        assert scores.values[str(metric.measure)][scores.queries.index(metric.query_id)] == metric.value
    for i, query in enumerate(scores.queries):
        order = sorted(run.get(query, {}).items(), key=lambda kv: (kv[1], kv[0]), reverse=True)
        hits = [judged[query].get(name, 0) >= 1 for name, _ in order]
        assert scores.values["AP@3"][i] == pytest.approx(
            _ap(hits[:3], sum(v >= 1 for v in judged[query].values()))
        )
        assert scores.values["P@3"][i] == pytest.approx(sum(hits[:3]) / 3)


def _ap(hits, relevant):
    found = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
    return sum(found) / relevant if relevant else 0


@given(st.lists(names, unique=True))
def test_a_list_keeps_its_order_whatever_the_ids(ids):
    run = ranked_run({"q": ids})["q"]
    assert sorted(run, key=lambda name: (np.float32(run[name]), name), reverse=True) == ids


@pytest.mark.parametrize(
    "name", ["P@0", "P@-1", "P@1.5", "P", "foo@3", "a b", "ERR@10", "AP(rel=0)@3", "P@'x'", ""]
)
def test_measures_that_trec_eval_cannot_compute_are_refused(name):
    """Some of these would abort the process inside trec_eval."""
    with pytest.raises(InputError, match="measure"):
        evaluate_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, [name])


def test_runs_that_cannot_be_ranked_are_refused():
    for score in (math.nan, math.inf):
        with pytest.raises(InputError, match="'q' has a score"):
            evaluate_run({"q": {"a": score}}, {"q": {"a": 1}}, ["RR"])
    with pytest.raises(InputError, match="no query"):
        evaluate_run({}, {}, ["RR"])
    with pytest.raises(InputError, match="comes twice among its 3"):
        ranked_run({"q": ["a", "b", "a"]})


def test_same_items_are_the_other_listings():
    assert same_items({"a1": "A", "a2": "A", "a3": "A", "b1": "B"}) == {
        "a1": {"a2", "a3"},
        "a2": {"a1", "a3"},
        "a3": {"a1", "a2"},
    }
