"""Joins of a survey's tables by integer codes, and checks that the tables fit together."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.eval.estimate import Ints
from mmprod.storage.errors import InputError


def codes(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """A column of names as int64[n] indices into its sorted distinct names."""
    names = sorted(column.unique().to_pylist())
    return pc.index_in(column, value_set=pa.array(names, pa.string())).to_numpy().astype(np.int64), names


def places(column: pa.ChunkedArray, among: Any, what: str) -> Ints:
    """int64[n], the index of each value in `among`, distinct values. Raises: InputError if one is missing."""
    values = among.combine_chunks() if isinstance(among, pa.ChunkedArray) else among
    found = pc.index_in(column, value_set=values)
    if found.null_count:
        missing = column.filter(pc.is_null(found))[0].as_py()
        raise InputError(f"{what} {missing!r} is unknown ({found.null_count} such rows)")
    return np.asarray(found.to_numpy(), np.int64)


def match(keys: Ints, among: Ints) -> Ints:
    """int64[n], an index of each key in `among`, -1 if it is missing."""
    if not len(among):
        return np.full(len(keys), -1)
    order = np.argsort(among)
    place = np.minimum(np.searchsorted(among[order], keys), len(among) - 1)
    return np.where(among[order][place] == keys, order[place], -1)


def refuse_repeated(numbers: Ints, what: str) -> None:
    """Raise InputError unless all numbers are distinct."""
    ordered = np.sort(numbers)  # many times faster than np.unique, which hashes
    distinct = len(numbers) - int(np.count_nonzero(ordered[1:] == ordered[:-1]))
    if distinct != len(numbers):
        raise InputError(f"{what}: {len(numbers)} rows, {distinct} different")


def refuse_cut_lists(candidates: pa.Table, lists: Ints) -> None:
    """Raise InputError unless the ranks of each of `lists` (int64[n], the list of a row) are 1 to n."""
    rank = candidates.column("rank").to_numpy().astype(np.int64)
    order = np.lexsort((rank, lists))
    ordered = lists[order]
    expected = np.arange(len(order)) - np.searchsorted(ordered, ordered) + 1
    wrong = np.flatnonzero(rank[order] != expected)
    if len(wrong):
        row = candidates.slice(int(order[wrong[0]]), 1).to_pylist()[0]
        raise InputError(
            f"candidates: {row['system']!r} gives anchor {row['anchor_id']!r} rank {row['rank']} where "
            f"{expected[wrong[0]]} is expected: ranks are 1 to n once each; is the table cut or doubled?"
        )
