from collections import Counter, defaultdict
from math import fsum, isclose
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR, check
from mmprod.eval.survey.draw import draw_anchors, draw_pairs, take_candidates
from mmprod.eval.survey.pair_ids import pair_id
from mmprod.eval.survey.plan import plan
from mmprod.storage.errors import InputError

BANDS = ((3, 3), (10, 2))


def shown_of(ids):
    return [f"shown {name}" for name in ids]


def anchors_of(shop, rows, per_category=20, seed=1, size=1000, batches_of=None):
    frame = shop.frame(rows, seed, size=size)
    return draw_anchors(frame, plan(frame.strata, 5, None, per_category, {}), batches_of(rows, size))


@pytest.fixture(scope="session")
def draw(batches_of):
    def whole(shop, rows, per_category=20, seed=1, size=1000, systems=None):
        anchors = anchors_of(shop, rows, per_category, seed, size, batches_of)
        found = systems or {"new": rows}
        candidates = pa.concat_tables(
            take_candidates(name, batches_of(r, size), anchors, 10) for name, r in found.items()
        )
        return anchors, candidates, draw_pairs(candidates, BANDS, shown_of, seed)

    return whole


def test_anchors_have_the_planned_counts_and_weights_add_up_to_the_population(catalogue, lists, batches_of):
    shop = catalogue(700)
    rows = lists(shop.anchors, 2)
    frame = shop.frame(rows)
    planned = plan(frame.strata, 5, None, 37, {})
    anchors = draw_anchors(frame, planned, batches_of(rows))
    check(anchors, ANCHOR, "anchors")
    found = defaultdict(list)
    for row in anchors.to_pylist():
        found[row["category"], row["band"]].append(row)
        assert frame.bands.name(shop.facts[row["anchor_id"]].sales) == row["band"]
    assert {key: len(part) for key, part in found.items()} == planned.anchors
    for stratum in frame.strata:
        part = found[stratum.category, stratum.band]
        assert {row["population"] for row in part} == {stratum.population}
        assert isclose(fsum(row["weight"] for row in part), stratum.population, rel_tol=1e-12)
    assert isclose(fsum(anchors.column("weight").to_pylist()), 700, rel_tol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 900))
def test_rows_and_batches_in_any_order_give_the_same_survey(catalogue, lists, draw, seed, size):
    shop = catalogue(90)
    rows = lists(shop.anchors, 12)
    want = draw(shop, rows, per_category=7)
    Random(seed).shuffle(rows)
    assert all(a.equals(b) for a, b in zip(draw(shop, rows, 7, size=size), want, strict=True))


def test_another_seed_draws_others_and_every_anchor_is_as_likely_as_any_other(lists, batches_of, catalogue):
    shop = catalogue(30)
    rows = lists(shop.anchors, 1)
    seen = Counter()
    strata = {}
    for seed in range(300):
        for row in anchors_of(shop, rows, 9, seed, batches_of=batches_of).to_pylist():
            seen[row["anchor_id"]] += 1
            strata[row["anchor_id"]] = row
    assert len(seen) == 30
    for name, row in strata.items():
        chance = 1 / row["weight"]
        spread = (300 * chance * (1 - chance)) ** 0.5
        assert abs(seen[name] - 300 * chance) <= 4.5 * spread


def test_a_changed_model_draws_the_same_anchors_and_all_pairs_both_found(catalogue, lists, draw):
    shop = catalogue(400)
    old, _, old_pairs = draw(shop, lists(shop.anchors, 10))
    new, _, new_pairs = draw(shop, lists(shop.anchors, 10, system="b"))
    assert new.equals(old)
    before, after = (set(p.column("pair_id").to_pylist()) for p in (old_pairs, new_pairs))
    pool = [row for row in old_pairs.to_pylist() if row["product_id"].split("/")[1] in "2"]
    assert pool and all(row["pair_id"] in after for row in pool), "rank 2 is the same product: asked in both"
    assert before - after, "rank 1 and 3 are other products"


def test_new_and_gone_products_cost_no_more_anchors_than_they_must(catalogue, lists, batches_of):
    """With 3 % of the anchors gone, those that were drawn and are still there are drawn again."""
    shop = catalogue(600)
    stay = [name for i, name in enumerate(shop.anchors) if i % 33]
    first = anchors_of(shop, lists(shop.anchors, 1), 60, batches_of=batches_of)
    second = anchors_of(shop, lists(stay, 1), 60, batches_of=batches_of)
    one, two = (set(t.column("anchor_id").to_pylist()) for t in (first, second))
    assert len(one & two) > 0.9 * len(one)
    more = set(
        anchors_of(shop, lists(shop.anchors, 1), 90, batches_of=batches_of).column("anchor_id").to_pylist()
    )
    assert one < more, "a larger survey contains the smaller"


def test_candidates_are_the_top_of_each_list(catalogue, lists, batches_of):
    shop = catalogue(50)
    rows = lists(shop.anchors, 9)
    anchors = anchors_of(shop, rows, 5, batches_of=batches_of)
    found = take_candidates("same_item", batches_of(rows, 7), anchors, 4)
    check(found, CANDIDATE, "candidates")
    assert found.num_rows == 4 * anchors.num_rows
    assert set(found.column("system").to_pylist()) == {"same_item"}
    first = found.slice(0, 4).to_pylist()
    assert [row["rank"] for row in first] == [1, 2, 3, 4]
    assert [row["product_id"] for row in first] == [
        f"{first[0]['anchor_id']}/{rank}" for rank in (1, 2, 3, 4)
    ]


def test_a_system_that_finds_less_has_fewer_candidates(catalogue, lists, batches_of):
    shop = catalogue(50)
    anchors = anchors_of(shop, lists(shop.anchors, 1), 5, batches_of=batches_of)
    name = anchors.column("anchor_id")[0].as_py()
    few = take_candidates("keyword search", batches_of(lists([name, "no anchor"], 2)), anchors, 10)
    assert few.column("anchor_id").to_pylist() == [name, name]
    assert take_candidates("none", [], anchors, 10).schema == CANDIDATE


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("p", 1), ("q", 1)], r"ranks \[1, 1\], want 1 to 2 once each"),
        ([("p", 1), ("q", 3)], r"ranks \[1, 3\]"),
        ([("p", 2)], r"ranks \[2\]"),
        ([("p", 0), ("q", 1)], r"ranks \[0, 1\]"),
        ([("p", 1), ("p", 2)], "'p' comes 2 times for anchor"),
        ([(None, 1)], "is found for itself"),
    ],
)
def test_lists_that_can_not_be_right_are_refused(catalogue, lists, batches_of, rows, message):
    shop = catalogue(40)
    anchors = anchors_of(shop, lists(shop.anchors, 1), 5, batches_of=batches_of)
    names = anchors.column("anchor_id").to_pylist()
    bad = lists(names[:2], 3) + [(names[2], product or names[2], rank) for product, rank in rows]
    with pytest.raises(InputError, match=message):
        take_candidates("x", batches_of(bad), anchors, 10)


def test_a_depth_below_one_and_another_table_are_refused(catalogue, lists, batches_of):
    shop = catalogue(40)
    anchors = anchors_of(shop, lists(shop.anchors, 1), 5, batches_of=batches_of)
    with pytest.raises(InputError, match="depth is 0, want at least 1"):
        take_candidates("x", [], anchors, 0)
    with pytest.raises(InputError, match="column 'text' is missing"):
        take_candidates("x", [], anchors.drop_columns("text"), 1)
    with pytest.raises(InputError, match="column 'anchor_id' is missing"):
        take_candidates("x", [pa.record_batch({"a": [1]})], anchors, 1)
    with pytest.raises(InputError, match="column 'system' is missing"):
        draw_pairs(anchors.drop_columns("text"), BANDS, shown_of, 1)


def test_a_recall_table_that_changed_and_a_plan_of_another_are_refused(catalogue, lists, batches_of):
    shop = catalogue(40)
    rows = lists(shop.anchors, 1)
    frame = shop.frame(rows)
    planned = plan(frame.strata, 5, None, 40, {})
    for other in ([], rows[1:], rows + rows[:1]):
        with pytest.raises(InputError, match="has it changed since the frame was made"):
            draw_anchors(frame, planned, batches_of(other))
    narrow = shop.frame(rows, level=2)
    with pytest.raises(InputError, match="strata"):
        draw_anchors(narrow, planned, batches_of(rows))
    fewer = shop.frame(rows[: len(rows) // 2])
    if {(s.category, s.band) for s in fewer.strata} == set(planned.anchors):
        with pytest.raises(InputError, match="planned, there are"):
            draw_anchors(fewer, planned, batches_of(rows))


def candidates_of(rows):
    """(system, anchor, product, rank) as CANDIDATE."""
    table = [
        dict(zip(("system", "anchor_id", "product_id", "rank"), r, strict=True), score=1.0) for r in rows
    ]
    return pa.Table.from_pylist(table, schema=CANDIDATE)


def test_pairs_of_one_system_by_hand():
    found = draw_pairs(candidates_of([("s", "a", f"p{r}", r) for r in range(1, 13)]), BANDS, shown_of, 1)
    check(found, PAIR, "pairs")
    rows = found.to_pylist()
    assert [row["rank"] for row in rows[:3]] == [1, 2, 3]
    assert [row["weight"] for row in rows] == [1.0, 1.0, 1.0, 3.5, 3.5]
    assert [row["rank_band"] for row in rows] == [1, 1, 1, 4, 4]
    assert rows[0]["pair_id"] == pair_id(("a", "shown a"), ("p1", "shown p1"))


def test_a_pooled_product_has_its_best_rank():
    rows = [("s", "a", "p", 2), ("s", "a", "q", 1), ("t", "a", "p", 1), ("t", "a", "r", 2)]
    found = draw_pairs(candidates_of(rows), [(2, 9)], shown_of, 1).to_pylist()
    assert [(row["product_id"], row["rank"], row["weight"]) for row in found] == [
        ("p", 1, 1.0),
        ("q", 1, 1.0),
        ("r", 2, 1.0),
    ]


def test_two_anchors_that_find_each_other_are_one_question():
    found = draw_pairs(candidates_of([("s", "a", "b", 1), ("s", "b", "a", 1)]), [(1, 1)], shown_of, 1)
    assert found.column("anchor_id").to_pylist() == ["a", "b"]
    assert len(set(found.column("pair_id").to_pylist())) == 1


def test_another_picture_is_another_question_and_leaves_the_others():
    rows = candidates_of([("s", "a", f"p{r}", r) for r in range(1, 4)])
    new = draw_pairs(rows, [(3, 3)], lambda ids: [i if i == "p2" else f"shown {i}" for i in ids], 1)
    old = draw_pairs(rows, [(3, 3)], shown_of, 1)
    assert [a == b for a, b in zip(*(t.column("pair_id").to_pylist() for t in (old, new)), strict=True)] == [
        True,
        False,
        True,
    ]


def test_no_candidates_no_pairs():
    assert draw_pairs(candidates_of([]), BANDS, shown_of, 1).equals(PAIR.empty_table())
    assert draw_pairs(candidates_of([("s", "a", "p", 11)]), BANDS, shown_of, 1).num_rows == 0


@pytest.mark.parametrize("bands", [[], [(0, 1)], [(3, 0)], [(3, 1), (3, 1)], [(5, 1), (3, 1)]])
def test_rank_bands_that_do_not_ascend_or_ask_nothing_are_refused(bands):
    with pytest.raises(InputError, match="rank bands are"):
        draw_pairs(candidates_of([("s", "a", "p", 1)]), bands, shown_of, 1)


pools = st.lists(
    st.tuples(
        st.sampled_from("st"), st.sampled_from("abc"), st.sampled_from("pqrstuvwxyz"), st.integers(1, 12)
    ),
    max_size=60,
    unique_by=lambda row: row[:3],
)
rank_bands = st.dictionaries(st.integers(1, 12), st.integers(1, 4), min_size=1).map(
    lambda d: sorted(d.items())
)


@given(rows=pools, bands=rank_bands, seed=st.integers(0, 99))
def test_weights_are_one_or_more_and_add_up_to_the_pool_of_every_band(rows, bands, seed):
    best = {}
    for _, anchor, product, rank in rows:
        best[anchor, product] = min(rank, best.get((anchor, product), rank))
    first = dict(zip([last for last, _ in bands], [1, *(last + 1 for last, _ in bands)], strict=False))
    pool = Counter()
    for (anchor, _), rank in best.items():
        last = next((last for last, _ in bands if rank <= last), None)
        if last:
            pool[anchor, first[last]] += 1
    sums, counts = Counter(), Counter()
    for row in draw_pairs(candidates_of(rows), bands, shown_of, seed).to_pylist():
        assert row["weight"] >= 1 and row["rank"] == best[row["anchor_id"], row["product_id"]]
        sums[row["anchor_id"], row["rank_band"]] += row["weight"]
        counts[row["anchor_id"], row["rank_band"]] += 1
    assert sums.keys() == pool.keys() and all(isclose(sums[key], pool[key]) for key in pool)
    many = {first[last]: count for last, count in bands}
    assert all(counts[key] == min(pool[key], many[key[1]]) for key in pool)


@settings(max_examples=40)
@given(rows=pools, seed=st.integers(0, 99), gone=st.sampled_from("pqrstuvwxyz"))
def test_a_product_less_in_the_pool_changes_one_pair_of_a_band_at_most(rows, seed, gone):
    def drawn(pool):
        return set(draw_pairs(candidates_of(pool), [(12, 3)], shown_of, seed).column("pair_id").to_pylist())

    before, after = drawn(rows), drawn([row for row in rows if row[2] != gone])
    assert len(after - before) <= len(before - after) <= 3, "one for each anchor that lost it"


def test_weighted_figures_are_unbiased(catalogue, lists, draw):
    """Over 200 surveys the weighted counts of same pairs average to the true one, though few are asked."""
    shop = catalogue(150)
    rows = lists(shop.anchors, 10)
    random = np.random.default_rng(0)
    chance = {name: 0.9 if (fact.sales or 0) > 3 else 0.3 for name, fact in shop.facts.items()}
    same = {(a, p): random.random() < chance[a] / rank**0.3 for a, p, rank in rows}
    totals = []
    for seed in range(200):
        anchors, _, pairs = draw(shop, rows, 12, seed)
        weight = dict(zip(*(anchors.column(n).to_pylist() for n in ("anchor_id", "weight")), strict=True))
        totals.append(
            fsum(
                row["weight"] * weight[row["anchor_id"]] * same[row["anchor_id"], row["product_id"]]
                for row in pairs.to_pylist()
            )
        )
    error = np.std(totals) / len(totals) ** 0.5
    assert abs(np.mean(totals) - sum(same.values())) < 4 * error
