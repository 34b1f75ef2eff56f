"""One shard of the product store: an LMDB environment of eight databases.

============== =================== ==========================================================
database       key                 value
============== =================== ==========================================================
states         product id          its state with the volatile fields (`state.pack`, 121 bytes and more)
records        product id          title, reason and canonical lasting fields (`record.body`)
pictures       image hash          the picture's bytes, once for all products of the shard
sequence       8 bytes big endian  product id, by its latest change in picture, title or liveness
field_sequence 8 bytes big endian  product id, by its latest change in the lasting fields
meta           name                JSON: ``full_day``, ``live``, ``day:2024-05-01``
changes        day, place          change log until published (`mmprod.datasets.store.changelog`)
undo           order, number       what the latest days overwrote (`mmprod.datasets.store.undo`)
============== =================== ==========================================================

A product has at most one entry in each sequence. All values except those of the sequences are sealed: they
carry a checksum over key and value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import lmdb
import numpy as np

from mmprod.datasets.store import state_columns, undo
from mmprod.datasets.store.checked_values import none_missing, seal, unseal
from mmprod.datasets.store.lmdb_environment import (
    close_environment,
    of_the_disk,
    open_environment,
    reading,
    writing,
)
from mmprod.datasets.store.state import State, pack
from mmprod.datasets.store.view import CHUNK, SEQUENCES, Slice, View, note
from mmprod.storage import fencing
from mmprod.storage.errors import StateError
from mmprod.storage.faults import fault
from mmprod.storage.room import NoRoom

DATABASES = ("states", "records", "pictures", *SEQUENCES, "meta", "changes", "undo")
_ENTRY = 250  # bytes of a product's state, sequence numbers and tree entries

LAST = 2**64 - 1
"""Larger than every sequence number."""

_T = TypeVar("_T")


class Write(NamedTuple):
    """The write that results from a merge, for one product."""

    key: bytes
    state: State
    record: bytes | None = None  # record body, when the content changed
    picture: bytes | None = None  # picture bytes, when they are new to the product
    moved: bool = False  # picture, title or liveness changed: the product gets a new number in `sequence`
    fields_moved: bool = False  # lasting fields changed: it gets a new number in `field_sequence`
    live: int = 0  # change in the number of live products: -1, 0, 1


class Rewrite(NamedTuple):
    """A new state that moves no sequence number: only days or volatile fields differ. States are sealed."""

    key: bytes
    before: bytes
    after: bytes


class Added(NamedTuple):
    """New products, in order of key, none of which has a state."""

    keys: list[bytes]
    states: np.ndarray  # as `state_columns.new_states` makes them; sequence numbers are filled in
    attributes: list[bytes]  # canonical volatile attributes
    records: list[tuple[bytes, bytes]]  # sealed
    pictures: dict[bytes, bytes]  # by hash


class Shard:
    """One shard of a store. Reads are short transactions; writes are durable on return. One thread writes."""

    def __init__(self, folder: Path, read_only: bool, databases: Sequence[str] = DATABASES) -> None:
        self.folder = folder
        self.environment = open_environment(folder, len(DATABASES), read_only)
        try:
            self._databases = {name: self._database(name, read_only) for name in databases}
        except (lmdb.Error, StateError) as error:
            close_environment(self.environment)
            if of_the_disk(error):
                raise NoRoom("a new store", folder, str(error)) from error
            raise StateError(f"{folder}: a database is missing: {error}") from error

    def _database(self, name: str, read_only: bool) -> Any:
        return self.environment.open_db(name.encode(), create=not read_only and not self._has(name))

    def _has(self, name: str) -> bool:
        return reading(self.environment, lambda txn: txn.get(name.encode()) is not None)

    def close(self) -> None:
        close_environment(self.environment)

    def read(self, work: Callable[[View], _T]) -> _T:
        """Run `work` on one consistent view of the shard; keep it short."""
        return reading(self.environment, lambda txn: work(View(txn, self._databases)))

    def chunks(
        self, database: str, after: bytes = b"", prefix: bytes = b"", count: int = CHUNK
    ) -> Iterator[tuple[Slice, int]]:
        """All entries after key `after` whose keys begin with `prefix`, in key order.

        Yields (entries, latest full day), one transaction a chunk of at most `count` entries.
        """
        while True:
            found, full_day = self._slice(database, after, prefix, count)
            if not found:
                return
            yield found, full_day
            after = found[-1][0]

    def _slice(self, database: str, after: bytes, prefix: bytes, count: int) -> tuple[Slice, int]:
        return self.read(lambda view: (view.slice(database, after, prefix, count), view.full_day))

    def changed(self, sequence: str, after: int, end: int) -> Iterator[list[bytes]]:
        """Products whose latest change in a sequence lies in (`after`, `end`]: sorted ids, by chunk."""
        last = end.to_bytes(8, "big")
        for slice_, _ in self.chunks(sequence, after.to_bytes(8, "big")) if after < end else ():
            yield sorted(key for at, key in slice_ if at <= last)
            if slice_[-1][0] >= last:
                return

    def keys(self, after: bytes) -> list[bytes]:
        """The next `CHUNK` product ids after `after`."""
        return self.read(lambda view: view.keys(after))

    def raw(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Sealed values by key, without missing keys. Fastest with sorted keys."""
        return self.read(lambda view: view.raw(database, keys))

    def get(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Values by key, checksums verified.

        Raises: StateError naming the first damaged one.
        """
        return {key: unseal(database, key, value) for key, value in self.raw(database, keys).items()}

    def whole(self, database: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Values by key; every key must exist. Raises: StateError when one is missing or damaged."""
        return none_missing(self.folder, database, keys, self.get(database, keys))

    def states(self, keys: Iterable[bytes]) -> dict[bytes, State]:
        """States by product id, read under the latest full day; ids without a state are left out."""
        return self.read(lambda view: view.states(keys))

    def write(
        self,
        writes: Sequence[Write],
        full_day: int,
        notes: Mapping[str, object] = MappingProxyType({}),
        log: Slice = (),
        day: date | None = None,
        rewrites: Sequence[Rewrite] = (),
    ) -> None:
        """Commit `writes` and `rewrites` (each sorted by key, no key in both), `notes` (meta entries) and
        `log` (new entries of `changes`, sorted and sealed) in one durable transaction.

        `full_day`: the latest full day that will be in force, for packing. `day`: the day that the writes
        belong to; what they overwrite is kept in `undo`.
        """
        if not (writes or rewrites or notes or log):
            return
        with fencing.publishing():
            work = partial(self._write, writes, full_day, notes, log, day, rewrites)
            writing(self.environment, work, _size(writes, log) + 3 * _ENTRY * len(rewrites))
        fault("ingest.committed")

    def _write(
        self,
        writes: Sequence[Write],
        full_day: int,
        notes: Mapping[str, object],
        log: Slice,
        day: date | None,
        rewrites: Sequence[Rewrite],
        txn: Any,
    ) -> None:
        view = View(txn, self._databases)
        if day and (writes or rewrites or notes):
            undo.put_aside(view, day, writes, rewrites)
        live = sum(write.live for write in writes)
        if live:
            notes = {**notes, "live": view.live + live}
        self._put(txn, "pictures", _pictures(writes), overwrite=False)
        self._put(txn, "records", [(w.key, seal(w.key, w.record)) for w in writes if w.record is not None])
        self._put(
            txn, "states", [(key, pack(key, state, full_day)) for key, state in self._moved(view, writes)]
        )
        self._put(txn, "states", [(key, after) for key, _, after in rewrites])
        self._put(txn, "meta", [note(name, value) for name, value in notes.items()])
        self._put(txn, "changes", log, overwrite=False)
        fault("ingest.transaction")

    def _moved(self, view: View, writes: Sequence[Write]) -> Iterator[tuple[bytes, State]]:
        """The states to write, with new sequence numbers for what changed; writes the sequences' entries."""
        heads = [view.head(name) for name in SEQUENCES]
        entries: tuple[list[tuple[bytes, bytes]], ...] = ([], [])
        for key, state, _, _, moved, fields_moved, _ in writes:
            numbers = list(state[-2:])
            for i, moves in enumerate((moved, fields_moved)):
                if moves:
                    if numbers[i]:
                        view.drop(SEQUENCES[i], [numbers[i].to_bytes(8, "big")])
                    heads[i] += 1
                    numbers[i] = heads[i]
                    entries[i].append((numbers[i].to_bytes(8, "big"), key))
            yield key, State(*state[:-2], *numbers)  # as `_replace`, which takes five times as long
        for name, found in zip(SEQUENCES, entries, strict=True):
            if found:
                view.put(name, found, behind=True)

    def add(self, added: Added, log: Slice, day: date) -> None:
        """Commit new products, all live, and `log` in one durable transaction; see `write`."""
        with fencing.publishing():
            size = 3 * _ENTRY * len(added.keys) + sum(map(len, added.pictures.values()))
            writing(self.environment, partial(self._add, added, log, day), size)
        fault("ingest.committed")

    def _add(self, added: Added, log: Slice, day: date, txn: Any) -> None:
        view = View(txn, self._databases)
        undo.put_aside(view, day, [Write(key, State()) for key in added.keys])
        for name in SEQUENCES:
            numbers = np.arange(len(added.keys), dtype=np.uint64) + np.uint64(view.head(name) + 1)
            added.states[name] = numbers
            places = numbers.astype(">u8").tobytes()
            entries = [(places[8 * i : 8 * i + 8], key) for i, key in enumerate(added.keys)]
            view.put(name, entries, behind=True)
        pictures = [(key, seal(key, added.pictures[key])) for key in sorted(added.pictures)]
        self._put(txn, "pictures", pictures, overwrite=False)
        self._put(txn, "records", added.records)
        sealed = state_columns.seal_all(added.keys, added.states, added.attributes)
        self._put(txn, "states", list(zip(added.keys, sealed, strict=True)))
        self._put(txn, "meta", [note("live", view.live + len(added.keys))])
        self._put(txn, "changes", log, overwrite=False)
        fault("ingest.transaction")

    def _put(self, txn: Any, database: str, items: Slice, overwrite: bool = True) -> None:
        if items:
            with txn.cursor(db=self._databases[database]) as cursor:
                cursor.putmulti(items, overwrite=overwrite)

    def transact(self, work: Callable[[View], _T]) -> _T:
        """Run `work`, which may write, in one durable transaction, all or nothing."""
        found: list[_T] = []
        with fencing.publishing():
            writing(self.environment, lambda txn: found.append(work(View(txn, self._databases))))
        return found[-1]

    def remove(self, database: str, keys: Sequence[bytes]) -> None:
        """Remove entries by their keys, in one durable transaction."""

        def work(txn: Any) -> None:
            for key in keys:
                txn.delete(key, db=self._databases[database])

        if keys:
            writing(self.environment, work)


def _size(writes: Iterable[Write], log: Slice) -> int:
    """Approximate size of the writes in bytes."""
    entries = sum(_ENTRY + len(w.key) + len(w.record or b"") + len(w.picture or b"") for w in writes)
    return entries + sum(len(key) + len(value) for key, value in log)


def _pictures(writes: Iterable[Write]) -> Slice:
    found = {write.state.content.image_hash: write.picture for write in writes if write.picture is not None}
    return [(key, seal(key, picture)) for key, picture in sorted(found.items())]
