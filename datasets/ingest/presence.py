"""Duplicate and absent ids of a day's table, from a first pass over the ids; takes 8 bytes a row."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmprod.datasets.ingest.delivery import Identities
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.state import version

_Hashes = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Roll:
    """The ids in the usable rows of one table, except those that the `table.live` setting marks as removed.

    Absence is decided by 64-bit hashes. The probability that an absent id collides with one of a million
    others is 5e-14; its removal is then detected a day late, since the hash is salted with the day.
    """

    day: int
    hashes: _Hashes  # sorted
    winners: dict[str, int]  # for each repeated id (compared exactly): the place of the row that counts

    def losers(self, product_ids: Sequence[str], start: int) -> list[int]:
        """Which rows, of those from place `start` on, are replaced by another row with the same id."""
        if not self.winners:
            return []
        places = enumerate(product_ids, start)
        return [place - start for place, key in places if self.winners.get(key, place) != place]

    def with_ids(self, keys: Iterable[bytes]) -> "Roll":
        """A copy of the roll with more ids."""
        return Roll(self.day, np.sort(np.append(self.hashes, _hash(list(keys), self.day))), self.winners)

    def absent(self, keys: list[bytes]) -> list[bytes]:
        """Those of `keys` that aren't on the roll."""
        wanted = _hash(keys, self.day)
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return [keys[i] for i in np.flatnonzero(self.hashes[places] != wanted)]


def call_roll(identities: Callable[[], Iterable[Identities]], day: int) -> Roll:
    """The roll of a table. Its ids are read again only if hashes repeat."""
    parts = [(_hash([text.encode() for text in batch.ids], day), batch.gone) for batch in identities()]
    hashes = np.sort(np.concatenate([np.empty(0, np.int64), *(found for found, _ in parts)]))
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if any(gone is not None for _, gone in parts):
        there = [found if gone is None else found[~gone] for found, gone in parts]
        hashes = np.sort(np.concatenate([np.empty(0, np.int64), *there]))
    return Roll(day, hashes, _winners(identities(), repeated, day) if len(repeated) else {})


def _winners(identities: Iterable[Identities], repeated: _Hashes, day: int) -> dict[str, int]:
    """For repeated ids, the place of the row with the greatest version; of equal versions, the last."""
    best: dict[str, tuple[int, int]] = {}
    rows: Counter[str] = Counter()
    start = 0
    for ids, times, _ in identities:
        suspect = np.isin(_hash([text.encode() for text in ids], day), repeated)
        for i in np.flatnonzero(suspect).tolist():
            mark = version(times[i], day), start + i
            best[ids[i]] = max(mark, best.get(ids[i], mark))
            rows[ids[i]] += 1
        start += len(ids)
    return {product_id: place for product_id, (_, place) in best.items() if rows[product_id] > 1}


def _hash(keys: Sequence[bytes], day: int) -> _Hashes:
    """Python's SipHash: fast, and sufficient within one process (every process has its own seed)."""
    salt = b"%d " % day
    return np.fromiter((hash(salt + key) for key in keys), np.int64, len(keys))


def departures(shard: Shard, roll: Roll) -> Iterator[tuple[list[bytes], dict[bytes, bytes]]]:
    """Products that are in the store but not on the roll, in chunks: ids and sealed states."""
    after = b""
    while keys := shard.keys(after):
        after = keys[-1]
        absent = roll.absent(keys)
        if absent:
            yield absent, shard.raw("states", absent)
