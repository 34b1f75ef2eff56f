"""Pairs that share an item, a picture or a title are never on both sides of the split."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.pairs.pairs import HELD_OUT, NUMBERS, PAIR, TRAIN, identity
from mmprod.datasets.pairs.split import components, split

NUMBER = st.integers(-1, 12)
IDENTITIES = st.lists(st.tuples(NUMBER, st.integers(0, 12), st.integers(0, 12)), max_size=40)


def pairs(rows: list[tuple[int, int, int]], names: list[str] | None = None) -> pa.Table:
    names = names or [f"p{at:05d}" for at in range(len(rows))]
    fixed = {"title": "t", "category": "", "image_hash": bytes(16), "sales": None, "split": TRAIN}
    table = [
        {"product_id": name, **dict(zip(NUMBERS, row, strict=True)), **fixed}
        for name, row in zip(names, rows, strict=True)
    ]
    return pa.Table.from_pylist(table, PAIR)


def sides(table: pa.Table) -> dict[str, str]:
    return dict(zip(table["product_id"].to_pylist(), table["split"].to_pylist(), strict=True))


@given(IDENTITIES, st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 5))
def test_nothing_is_on_both_sides(rows, held_out: float, seed: int) -> None:
    table = split(pairs(rows), held_out, seed)
    away = np.array(table["split"].to_pylist()) == HELD_OUT
    for column in identity(table).T:
        here, there = set(column[~away].tolist()), set(column[away].tolist())
        assert not (here & there) - {-1}


@given(IDENTITIES)
def test_components_are_those_of_a_plain_search(rows) -> None:
    def linked(a, b) -> bool:
        return any(x == y >= 0 for x, y in zip(a, b, strict=True))

    expected = [-1] * len(rows)
    for first in range(len(rows)):
        waiting = [first] if expected[first] < 0 else []
        while waiting:
            at = waiting.pop()
            if expected[at] < 0:
                expected[at] = first
                waiting += [other for other, row in enumerate(rows) if linked(rows[at], row)]
    found = components(np.array(rows, np.int64).reshape(-1, 3))
    assert found.tolist() == expected


def test_a_long_chain_is_one_component() -> None:
    chain = np.array([[-1, at // 2, (at + 1) // 2] for at in range(20_001)])
    assert not components(chain).any()


def test_shares_are_as_asked_and_seeds_differ() -> None:
    rows = [(-1, at, at) for at in range(4000)]
    first, second = (sides(split(pairs(rows), 0.2, seed)) for seed in (0, 1))
    for found in (first, second):
        assert 0.18 < list(found.values()).count(HELD_OUT) / 4000 < 0.22
    assert first != second
    assert set(sides(split(pairs(rows), 0.0, 0)).values()) == {TRAIN}


def test_new_products_move_none_but_those_they_link() -> None:
    rows = [(-1, at, at) for at in range(1000)]
    before = sides(split(pairs(rows), 0.3, 0))
    new = [(-1, 2000 + at, 2000 + at) for at in range(500)]
    names = [f"p{at:05d}" for at in range(1000)] + [f"q{at:05d}" for at in range(500)]
    after = sides(split(pairs(rows + new, names), 0.3, 0))
    assert {name: after[name] for name in before} == before
    joined = sides(split(pairs([*rows, (-1, 3, 7)], [*names[:1000], "q"]), 0.3, 0))
    moved = {name for name in before if joined[name] != before[name]}
    assert moved <= {"p00007"}
