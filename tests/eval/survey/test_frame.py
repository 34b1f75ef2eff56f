import tracemalloc
from collections import Counter
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.schemas import RECALL
from mmprod.eval.survey.frame import Facts, Frame
from mmprod.eval.survey.strata import NO_CATEGORY, cut
from mmprod.storage.errors import InputError


def test_strata_hold_every_anchor_once(catalogue, lists):
    shop = catalogue(500)
    frame = shop.frame(lists(shop.anchors, 3))
    facts = shop.facts.values()
    want = Counter((cut(fact.category, 1), frame.bands.name(fact.sales)) for fact in facts)
    assert {(s.category, s.band): s.population for s in frame.strata} == want
    assert [s.category for s in frame.strata] == sorted(s.category for s in frame.strata)
    assert {s.category for s in frame.strata} == {"Home", "Shoes", NO_CATEGORY}
    top = [s.population for s in frame.strata if s.band == "top 10 %"]
    assert 0 < sum(top) <= 50 and len(frame.queue) == 500


def test_a_deeper_level_makes_narrower_strata(catalogue, lists):
    shop = catalogue(200)
    narrow = shop.frame(lists(shop.anchors, 1), level=2)
    assert {s.category for s in narrow.strata} == {"Home > Lamps", "Home > Chairs", "Shoes", NO_CATEGORY}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 700))
def test_rows_and_batches_in_any_order_give_the_same_frame(catalogue, lists, seed, size):
    shop = catalogue(120)
    rows = lists(shop.anchors, 3)
    want = shop.frame(rows)
    Random(seed).shuffle(rows)
    found = shop.frame(rows, size=size)
    assert found.strata == want.strata and np.array_equal(found.queue, want.queue)


def test_every_stratum_has_its_queue_in_order(catalogue, lists):
    shop = catalogue(300)
    frame = shop.frame(lists(shop.anchors, 1))
    for part in np.split(frame.queue, np.cumsum([s.population for s in frame.strata])[:-1]):
        assert (np.diff(part.astype(object)) > 0).all()


def test_a_batch_without_anchors_of_rank_one_is_fine(catalogue, batches_of):
    shop = catalogue(2)
    rows = [(shop.anchors[0], "x", 1), (shop.anchors[0], "y", 2)]
    assert [s.population for s in shop.frame(rows, size=1).strata] == [1]


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ([1, 1, 2, 2], "rank 1 twice: was the table written twice"),
        ([2, 3], "none of 2 rows has rank 1"),
        ([1, 3], "1 rows of rank 3, but 0 of rank 2"),
        ([1, 2, 2], "2 rows of rank 2, but 1 of rank 1"),
        ([0, 1, 2], "rank 0, want ranks from 1"),
        ([1, 2147483647], "1 rows of rank 2147483647, but 0"),
    ],
)
def test_ranks_that_can_not_be_right_are_refused(catalogue, ranks, message):
    shop = catalogue(1)
    with pytest.raises(InputError, match=message):
        shop.frame([(shop.anchors[0], f"p{i}", rank) for i, rank in enumerate(ranks)])


def test_an_empty_table_is_refused(catalogue):
    shop = catalogue(1)
    with pytest.raises(InputError, match="none of 0 rows has rank 1"):
        Frame.of([], shop.facts_of, 1, 1, ())
    with pytest.raises(InputError, match="none of 0 rows has rank 1"):
        Frame.of([pa.RecordBatch.from_pylist([], schema=RECALL)], shop.facts_of, 1, 1, ())


def test_another_table_is_refused(catalogue):
    with pytest.raises(InputError, match="column 'anchor_id' is missing"):
        Frame.of([pa.record_batch({"a": [1]})], catalogue(1).facts_of, 1, 1, ())


def test_memory_is_some_forty_bytes_an_anchor_while_sorting_and_eight_after(lists, batches_of):
    def facts_of(ids):
        return [Facts("Home", 3) for _ in ids]

    count, step = 100_000, 1000
    batches = (
        batch
        for start in range(0, count, step)
        for batch in batches_of(lists((f"sku-{i}" for i in range(start, start + step)), 1))
    )
    tracemalloc.start()
    frame = Frame.of(batches, facts_of, 1, 1, (0.1, 0.5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame.queue.nbytes == 8 * count
    assert peak < 40 * count + 1_500_000  # and one batch of Python objects
