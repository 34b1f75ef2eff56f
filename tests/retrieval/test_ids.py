"""Rows by product id: the right one of any catalogue, also where hashes collide."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.retrieval import ids as module
from mmprod.retrieval.ids import Lookup
from mmprod.storage.errors import InputError, StateError

NAMES = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), unique=True, max_size=60)


@given(NAMES, st.data())
def test_every_id_is_found_in_its_row_and_no_other(names: list[str], data: st.DataObject) -> None:
    lookup = Lookup(pa.array(names, pa.string()))
    wanted = data.draw(st.lists(st.sampled_from(names))) if names else []
    assert lookup.rows(wanted).tolist() == [names.index(name) for name in wanted]
    other = data.draw(st.text(max_size=6).filter(lambda name: name not in names))
    with pytest.raises(InputError, match="is not among the"):
        lookup.rows([*wanted, other])


@given(NAMES)
def test_ids_whose_hashes_collide_are_told_apart(names: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "hash", lambda name: len(name) % 2, raising=False)
        lookup = Lookup(pa.array(names, pa.string()))
        assert lookup.rows(names).tolist() == list(range(len(names)))
        with pytest.raises(InputError):
            lookup.rows(["seven letters"])


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=20))
def test_repeated_ids_are_counted(names: list[str]) -> None:
    distinct = len(set(names))
    if distinct == len(names):
        Lookup(pa.array(names))
    else:
        with pytest.raises(StateError, match=f"{len(names)} ids, only {distinct} of them distinct"):
            Lookup(pa.array(names))


def test_a_slice_of_a_column_counts_from_its_start() -> None:
    assert Lookup(pa.array(["a", "b", "c", "d"]).slice(2)).rows(["d", "c", "d"]).tolist() == [1, 0, 1]


def test_many_at_once_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    order = np.random.default_rng(0).permutation(1000)
    lookup = Lookup(pa.array([f"p{number}" for number in order]))
    assert lookup.rows([f"p{number}" for number in order[::-1]]).tolist() == list(range(999, -1, -1))


def test_a_generation_finds_rows_of_many(opened: Callable) -> None:
    _, generation = opened()
    assert generation.rows_of(["p00005", "p00123", "p00005"]).tolist() == [5, 123, 5]
    assert generation.rows_of([]).shape == (0,)
    with pytest.raises(InputError, match="'nobody' is not among"):
        generation.rows_of(["p00005", "nobody"])
