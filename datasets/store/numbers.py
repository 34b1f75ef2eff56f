"""New sequence numbers for the products of a store that is resharded."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmprod.datasets.identity import shard_of
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.store import Store
from mmprod.datasets.store.view import Slice, View
from mmprod.storage.errors import StateError

NUMBERED = 100_000
"""Products numbered at once."""


class Numbers:
    """The new numbers of an old shard's products by their old ones; in a file, not in memory."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()

    def add(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Append (old, new) numbers; the old ones grow."""
        with self._file.open("ab") as handle:
            np.array(pairs, np.uint64).tofile(handle)

    def of(self, numbers: Sequence[int]) -> list[int]:
        """The new numbers; 0 stays 0. Raises: StateError for one that the sequence doesn't have."""
        wanted = np.array(numbers, np.uint64)
        if not wanted.any():
            return [0] * len(wanted)
        pairs = np.zeros((1, 2), np.uint64)
        if self._file.stat().st_size:
            pairs = np.memmap(self._file, np.uint64, "r").reshape(-1, 2)
        places = np.minimum(np.searchsorted(pairs[:, 0], wanted), len(pairs) - 1)
        lost = (pairs[places, 0] != wanted) & (wanted != 0)
        if lost.any():
            told = f"a product's number {wanted[lost][0]} is not in its sequence"
            raise StateError(f"{told}; run `mmprod store verify`")
        found: list[int] = np.where(wanted == 0, 0, pairs[places, 1]).tolist()
        return found


def renumber(old: Store, new: Sequence[Shard], name: str, folder: Path) -> list[Numbers]:
    """Write the sequence `name` of the new shards; returns the new numbers, by old shard, kept in `folder`.

    The products of the first old shard come first; within an old shard, their order stays.
    """
    made, heads = [], [0] * len(new)
    for number, shard in enumerate(old.shards):
        numbers = Numbers(folder / f"{name}-{number}")
        for entries, _ in shard.chunks(name, count=NUMBERED):
            pairs: list[tuple[int, int]] = []
            moved: list[list[tuple[bytes, bytes]]] = [[] for _ in new]
            for at, key in entries:
                home = shard_of(key, len(new))
                heads[home] += 1
                moved[home].append((heads[home].to_bytes(8, "big"), key))
                pairs.append((int.from_bytes(at, "big"), heads[home]))
            numbers.add(pairs)
            put_all(new, name, moved, behind=True)
        made.append(numbers)
    return made


def put_all(new: Sequence[Shard], name: str, items: Sequence[Slice], behind: bool = False) -> None:
    """Write entries of a database, by shard. `behind`: sorted, all after the existing keys."""

    def work(view: View, entries: Slice) -> None:
        view.put(name, entries, behind)

    for shard, entries in zip(new, items, strict=True):
        if entries:
            shard.transact(partial(work, entries=entries))
