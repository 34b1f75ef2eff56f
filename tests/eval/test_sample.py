import tracemalloc
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.errors import InputError
from mmprod.datasets.schemas import PAIR, check
from mmprod.eval.sample import pair_id, sample_pairs

ANCHORS = [f"{'ABC'[i % 3]}{i}" for i in range(90)] + ["B-extra", "D-only"]


def by_letter(ids: list[str]) -> list[str]:
    return [f"{name[0]} > {name[-1]}" if name[0] != "D" else "" for name in ids]


def test_takes_the_top_ranks_of_the_wanted_number_of_anchors_per_category(recall_of):
    table = sample_pairs([recall_of(ANCHORS, 5)], by_letter, 10, 3, seed=1)
    check(table, PAIR, "pairs")
    rows = table.to_pylist()
    assert Counter(r["stratum"] for r in rows) == {"A": 30, "B": 30, "C": 30, "(no category)": 3}
    assert {r["rank"] for r in rows} == {1, 2, 3}
    assert all(r["product_id"] == f"{r['anchor_id']}/{r['rank']}" for r in rows)
    assert {r["stratum"]: r["weight"] for r in rows} == {"A": 3.0, "B": 3.1, "C": 3.0, "(no category)": 1.0}


@settings(max_examples=40, deadline=None)
@given(order=st.randoms(use_true_random=False), size=st.integers(1, 500))
def test_rows_and_batches_in_any_order_give_the_same_sample(order, size):
    rows = [(a, f"{a}/{rank}", rank) for a in ANCHORS for rank in (1, 2, 3, 4)]
    want = sample_pairs([_batch(rows)], by_letter, 4, 3, seed=7)
    order.shuffle(rows)
    batches = (_batch(rows[i : i + size]) for i in range(0, len(rows), size))
    assert sample_pairs(batches, by_letter, 4, 3, seed=7).equals(want)


def test_another_seed_asks_about_other_anchors_and_another_category_changes_nothing(recall_of):
    one = sample_pairs([recall_of(ANCHORS, 2)], by_letter, 5, 2, seed=1)
    two = sample_pairs([recall_of(ANCHORS, 2)], by_letter, 5, 2, seed=2)
    assert set(one["anchor_id"].to_pylist()) != set(two["anchor_id"].to_pylist())
    without_c = sample_pairs([recall_of([a for a in ANCHORS if a[0] != "C"], 2)], by_letter, 5, 2, seed=1)
    assert [r for r in one.to_pylist() if r["stratum"] != "C"] == without_c.to_pylist()


def test_every_anchor_is_as_likely_as_any_other(recall_of):
    batch = recall_of([f"A{i}" for i in range(20)], 1)
    seen = Counter(
        a
        for seed in range(400)
        for a in sample_pairs([batch], by_letter, 5, 1, seed)["anchor_id"].to_pylist()
    )
    # 400 draws at 1/4: mean 100, standard deviation 8.7
    assert len(seen) == 20 and all(60 < n < 140 for n in seen.values())


def test_a_deeper_level_makes_narrower_strata(recall_of):
    table = sample_pairs([recall_of(["A1", "A2", "B1"], 1)], by_letter, 1, 1, seed=0, level=2)
    assert sorted(table["stratum"].to_pylist()) == ["A > 1", "A > 2", "B > 1"]


def test_memory_does_not_grow_with_the_recall_table(recall_of):
    def batches(n):
        return (recall_of([f"A{i}-{j}" for j in range(500)], 2) for i in range(n))

    def peak(n):
        tracemalloc.start()
        sample_pairs(batches(n), by_letter, 10, 2, seed=0)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(20) < 1.5 * peak(4)


@pytest.mark.parametrize(("anchors", "per_anchor", "level"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_counts_below_one_are_refused(recall_of, anchors, per_anchor, level):
    with pytest.raises(InputError, match="is 0, want at least 1"):
        sample_pairs([recall_of(["A"], 1)], by_letter, anchors, per_anchor, 0, level)


def test_a_recall_table_written_twice_or_cut_is_refused(recall_of):
    with pytest.raises(InputError, match=r"ranks \[1, 1, 2, 2\]"):
        sample_pairs([recall_of(["A1"], 2)] * 2, by_letter, 1, 2, seed=0)
    with pytest.raises(InputError, match=r"ranks \[2\]"):
        sample_pairs([recall_of(["A1"], 2).slice(1)], by_letter, 1, 2, seed=0)


def test_no_recall_no_pairs():
    assert sample_pairs([], by_letter, 1, 1, seed=0).num_rows == 0


@given(a=st.text(max_size=5), b=st.text(max_size=5), c=st.text(max_size=5), d=st.text(max_size=5))
def test_pairs_have_the_same_name_only_if_they_are_the_same(a, b, c, d):
    assert (pair_id(a, b) == pair_id(c, d)) == ((a, b) == (c, d))


def test_the_name_of_a_pair_never_changes():
    assert pair_id("0012345", "款式") == "p469c53e326dd50c38d4d"


def _batch(rows):
    columns = [[r[i] for r in rows] for i in range(3)]
    n = len(rows)
    arrays = [
        pa.array(columns[0], pa.string()),
        pa.array(columns[1], pa.string()),
        pa.array(columns[2], pa.int32()),
        pa.array(np.ones(n), pa.float32()),
        pa.nulls(n, pa.float32()),
        pa.nulls(n, pa.float32()),
    ]
    names = ["anchor_id", "product_id", "rank", "score", "image_score", "text_score"]
    return pa.record_batch(
        arrays, schema=pa.schema([_field(n, a) for n, a in zip(names, arrays, strict=True)])
    )


def _field(name, array):
    return pa.field(name, array.type)
