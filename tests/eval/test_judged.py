import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR
from mmprod.eval.judged import Judged
from mmprod.storage.errors import InputError

ANCHORS = [
    {"anchor_id": name, "category": "c", "band": "b", "population": 10, "weight": 5.0} for name in ("a", "b")
]
CANDIDATES = [
    {"system": system, "anchor_id": anchor, "product_id": product, "rank": rank, "score": 0.5}
    for system, anchor, product, rank in (
        ("two", "a", "y", 1),
        ("two", "a", "x", 2),
        ("one", "b", "y", 2),
        ("one", "b", "x", 1),
        ("one", "a", "x", 1),
    )
]
PAIRS = [
    {"pair_id": f"{a}{p}", "anchor_id": a, "product_id": p, "rank": 1, "rank_band": 1, "weight": w}
    for a, p, w in (("a", "y", 2.0), ("b", "y", 1.0), ("b", "x", 1.0))
]
SAME = {"ay": True, "by": False, "elsewhere": True}


def judged(anchors=ANCHORS, candidates=CANDIDATES, pairs=PAIRS, same=SAME) -> Judged:
    return Judged(
        pa.Table.from_pylist(anchors, schema=ANCHOR),
        pa.Table.from_pylist(candidates, schema=CANDIDATE),
        pa.Table.from_pylist(pairs, schema=PAIR),
        same,
    )


def test_lists_and_pool_by_hand():
    survey = judged()
    assert survey.systems == ("one", "two") and survey.depth == 2
    assert survey.sample.ids == ["a", "b"] and survey.sample.categories == ["c"]
    one = survey.lists("one")
    assert [list(column) for column in (one.anchor, one.rank, one.verdict, one.pair, one.row)] == [
        [0, 1, 1],
        [1, 1, 2],
        [-1, -1, 0],  # x of a was not drawn, x of b not answered
        [-1, 2, 1],
        [4, 3, 2],
    ]
    assert list(survey.lists("two").verdict) == [1, -1]
    pool = survey.pool
    assert [list(column) for column in (pool.part, pool.size, pool.judged, pool.of)] == [
        [0, 1, 1],
        [2, 2],
        [1, 1],
        [0, 1],
    ]


def test_rank_bands_are_by_the_best_rank_over_the_systems(catalogue_of):
    catalogue = catalogue_of({("c", "b"): 30}, [0.5], systems=2)
    survey = catalogue.survey(np.random.default_rng(0), 30)
    assert list(survey.band_firsts) == [1, 4]
    for system in survey.systems:
        lists = survey.lists(system)
        drawn = lists.pair >= 0
        first = survey.pool.first[survey.pool.part[lists.pair[drawn]]]
        assert (survey.band_firsts[lists.band[drawn]] == first).all()
    assert survey.depth == 10


def altered(rows, place, **change):
    return [row | change if i == place else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"anchors": altered(ANCHORS, 1, anchor_id="a")}, "an anchor comes twice"),
        ({"anchors": altered(ANCHORS, 1, weight=0.0)}, "a weight is 0"),
        ({"anchors": ANCHORS[:1]}, "anchor 'b' is unknown"),
        ({"candidates": altered(CANDIDATES, 0, rank=3)}, "'two' gives anchor 'a' rank 2 where 1 is expected"),
        ({"candidates": altered(CANDIDATES, 2, rank=1)}, "rank 1 where 2 is expected"),
        ({"candidates": altered(CANDIDATES, 0, product_id="x")}, "a product comes twice in a list"),
        ({"pairs": altered(PAIRS, 0, anchor_id="z")}, "pairs: anchor 'z' is unknown"),
        ({"pairs": altered(PAIRS, 0, product_id="z")}, "pairs: product 'z' is unknown"),
        ({"pairs": altered(PAIRS, 2, product_id="y")}, "an anchor and a product make two pairs"),
        ({"candidates": CANDIDATES[:3] + CANDIDATES[4:], "pairs": PAIRS}, "rank 2 where 1 is expected"),
        (
            {"candidates": [CANDIDATES[1] | {"rank": 1}, *CANDIDATES[2:]]},
            "no system found product 'y' for anchor 'a'",
        ),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(tables, message):
    with pytest.raises(InputError, match=message):
        judged(**tables)


def test_impossible_designs_are_refused():
    with pytest.raises(InputError, match="2 of 'c', 'b' were drawn, but its population is said to be 1"):
        _ = judged(anchors=[row | {"population": 1} for row in ANCHORS]).sample
    with pytest.raises(InputError, match="sum to less than there are pairs"):
        _ = judged(pairs=[row | {"weight": 0.2} for row in PAIRS]).pool


def test_a_table_of_other_columns_is_refused():
    with pytest.raises(InputError, match="pairs: column 'rank_band' is missing"):
        Judged(*[judged().anchors, judged().candidates, judged().pairs.drop(["rank_band"])], {})
