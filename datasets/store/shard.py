"""One shard of the product store: an LMDB environment of seven databases.

========= =================== ==========================================================
database  key                 value
========= =================== ==========================================================
states    product id          its standing (`state.pack`, 90 bytes)
records   product id          title, reason and canonical fields (`record.body`)
pictures  image hash          the picture's bytes, once for all products of the shard
sequence  8 bytes big endian  product id: one entry a product, that of its latest change
meta      name                JSON: ``full_day``, ``live``, ``day:2024-05-01``
changes   day, place          what the days did, until published (`mmprod.datasets.store.changelog`)
undo      order, number       what the latest days overwrote (`mmprod.datasets.store.undo`)
========= =================== ==========================================================

All values but those of `sequence` are sealed (checksum over key and value).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import lmdb

from mmprod.datasets.store import undo
from mmprod.datasets.store.checked_values import none_missing, seal, unseal
from mmprod.datasets.store.lmdb_environment import of_the_disk, open_environment, reading, writing
from mmprod.datasets.store.state import NEVER, State, pack, unpack
from mmprod.storage import fencing
from mmprod.storage.errors import StateError
from mmprod.storage.faults import fault
from mmprod.storage.room import NoRoom

DATABASES = ("states", "records", "pictures", "sequence", "meta", "changes", "undo")
_LATER = ("undo",)  # databases that a store of an earlier version lacks until a day is ingested
CHUNK = 10_000
"""Entries read in one transaction: a longer one would keep the writer from reusing pages."""

CHUNK_BYTES = 1 << 26

_ENTRY = 200  # bytes of a product's state, sequence number and places in trees

LAST = 2**64 - 1
"""Behind every sequence number."""

Slice = Sequence[tuple[bytes, bytes]]
_T = TypeVar("_T")


class Write(NamedTuple):
    """What a merge leaves to be written about one product."""

    key: bytes
    state: State
    record: bytes | None = None  # record body, when the content changed
    picture: bytes | None = None  # picture bytes, when they are new to the product
    moved: bool = False  # content or liveness changed: consumers must hear of it
    live: int = 0  # change in the number of live products: -1, 0, 1


class Shard:
    """Reads are short transactions; a write is durable before the call returns. One thread writes."""

    def __init__(self, folder: Path, read_only: bool) -> None:
        self.folder = folder
        self.environment = open_environment(folder, len(DATABASES), read_only)
        try:
            self._databases = {
                name: self._database(name, read_only)
                for name in DATABASES
                if not (read_only and name in _LATER and not self._has(name))
            }
        except (lmdb.Error, StateError) as error:
            self.environment.close()
            if of_the_disk(error):
                raise NoRoom("a new store", folder, str(error)) from error
            raise StateError(f"{folder}: a database is missing: {error}") from error

    def _database(self, name: str, read_only: bool) -> Any:
        return self.environment.open_db(name.encode(), create=not read_only and not self._has(name))

    def _has(self, name: str) -> bool:
        return reading(self.environment, lambda txn: txn.get(name.encode()) is not None)

    def close(self) -> None:
        self.environment.close()

    def read(self, work: Callable[["View"], _T]) -> _T:
        """`work` on one consistent view of the shard; keep it short."""
        return reading(self.environment, lambda txn: work(View(txn, self._databases)))

    def chunks(self, database: str, after: bytes = b"", prefix: bytes = b"") -> Iterator[tuple[Slice, int]]:
        """All entries behind key `after` whose keys begin with `prefix`, in key order.

        A chunk a transaction: (slice, latest full day).
        """
        while True:
            found, full_day = self._slice(database, after, prefix)
            if not found:
                return
            yield found, full_day
            after = found[-1][0]

    def _slice(self, database: str, after: bytes, prefix: bytes) -> tuple[Slice, int]:
        return self.read(lambda view: (view.slice(database, after, prefix), view.full_day))

    def changed(self, after: int, end: int) -> Iterator[list[bytes]]:
        """Products whose latest change has a number over `after`, up to `end`: sorted ids, by chunk."""
        last = end.to_bytes(8, "big")
        for slice_, _ in self.chunks("sequence", after.to_bytes(8, "big")) if after < end else ():
            yield sorted(key for at, key in slice_ if at <= last)
            if slice_[-1][0] >= last:
                return

    def keys(self, after: bytes) -> list[bytes]:
        """The next `CHUNK` product ids behind `after`."""
        return self.read(lambda view: view.keys(after))

    def raw(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Sealed values by key; keys that aren't there are left out. Fastest with sorted keys."""
        return self.read(lambda view: view.raw(database, keys))

    def get(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Values by key, checksums verified.

        Raises: StateError naming the first damaged one.
        """
        return {key: unseal(database, key, value) for key, value in self.raw(database, keys).items()}

    def whole(self, database: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Values by key of keys that all have to be there. Raises: StateError where one is not."""
        return none_missing(self.folder, database, keys, self.get(database, keys))

    def states(self, keys: Iterable[bytes]) -> dict[bytes, State]:
        """States of the products the shard knows or has noted, as they stand under the latest full day."""
        return self.read(lambda view: view.states(keys))

    def write(
        self,
        writes: Sequence[Write],
        full_day: int,
        notes: Mapping[str, object] = MappingProxyType({}),
        log: Slice = (),
        day: date | None = None,
    ) -> None:
        """Commit `writes`, sorted by key, `notes` (meta entries) and `log` (new entries of `changes`, sorted
        and sealed) in one durable transaction.

        `full_day`: the latest full day that will be in force, for packing. `day`: whose writes they are; what
        they overwrite is put aside (`undo`).
        """
        if not writes and not notes and not log:
            return
        with fencing.publishing():
            work = partial(self._write, writes=writes, full_day=full_day, notes=notes, log=log, day=day)
            writing(self.environment, work, _size(writes, log))
        fault("ingest.committed")

    def _write(
        self,
        txn: Any,
        writes: Sequence[Write],
        full_day: int,
        notes: Mapping[str, object],
        log: Slice,
        day: date | None,
    ) -> None:
        view = View(txn, self._databases)
        if day and (writes or notes):
            undo.put_aside(view, day, writes)
        sequence, states, entries = view.head, [], []
        for key, state, _, _, moved, _ in writes:
            if moved:
                if state.sequence:
                    txn.delete(state.sequence.to_bytes(8, "big"), db=self._databases["sequence"])
                sequence += 1
                state = State(*state[:-1], sequence)  # as `_replace`, which takes five times as long
                entries.append((sequence.to_bytes(8, "big"), key))
            states.append((key, pack(key, state, full_day)))
        live = sum(write.live for write in writes)
        if live:
            notes = {**notes, "live": view.live + live}
        self._put(txn, "pictures", _pictures(writes), overwrite=False)
        self._put(txn, "records", [(w.key, seal(w.key, w.record)) for w in writes if w.record is not None])
        self._put(txn, "states", states)
        self._put(txn, "sequence", entries)
        self._put(txn, "meta", [_note(name, value) for name, value in notes.items()])
        self._put(txn, "changes", log, overwrite=False)
        fault("ingest.transaction")

    def _put(self, txn: Any, database: str, items: Slice, overwrite: bool = True) -> None:
        if items:
            with txn.cursor(db=self._databases[database]) as cursor:
                cursor.putmulti(items, overwrite=overwrite)

    def transact(self, work: Callable[["View"], _T]) -> _T:
        """`work`, which may write, in one durable transaction: all of it or nothing."""
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
    """Bytes of what is to be written, about."""
    entries = sum(_ENTRY + len(w.key) + len(w.record or b"") + len(w.picture or b"") for w in writes)
    return entries + sum(len(key) + len(value) for key, value in log)


def _note(name: str, value: object) -> tuple[bytes, bytes]:
    return name.encode(), seal(name.encode(), json.dumps(value).encode())


def _pictures(writes: Iterable[Write]) -> Slice:
    found = {write.state.content.image_hash: write.picture for write in writes if write.picture is not None}
    return [(key, seal(key, picture)) for key, picture in sorted(found.items())]


class View:
    """A shard as it stands in one transaction."""

    def __init__(self, txn: Any, databases: dict[str, Any]) -> None:
        self._txn, self._databases = txn, databases

    def raw(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Sealed values by key; keys that aren't there are left out. Fastest with sorted keys."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            return dict(cursor.getmulti(keys))

    def present(self, database: str, keys: Iterable[bytes]) -> set[bytes]:
        """Those of `keys` that are there; their values are not read."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            return set(cursor.getmulti(keys, values=False))

    def get(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Values by key, checksums verified."""
        return {key: unseal(database, key, value) for key, value in self.raw(database, keys).items()}

    def states(self, keys: Iterable[bytes]) -> dict[bytes, State]:
        """States of the products the shard knows or has noted."""
        full_day = self.full_day
        return {key: unpack(key, value, full_day) for key, value in self.raw("states", keys).items()}

    def slice(self, database: str, after: bytes, prefix: bytes = b"") -> Slice:
        """The next entries behind key `after` whose keys begin with `prefix`, as stored: `CHUNK` of them, or
        `CHUNK_BYTES` and one."""
        found: list[tuple[bytes, bytes]] = []
        size = 0
        if not self.holds(database):
            return found
        with self._txn.cursor(db=self._databases[database]) as cursor:
            if cursor.set_range(after + b"\0"):
                for key, value in islice(cursor.iternext(), CHUNK):
                    if not key.startswith(prefix):
                        break
                    found.append((key, value))
                    size += len(value)
                    if size > CHUNK_BYTES:
                        break
        return found

    def keys(self, after: bytes) -> list[bytes]:
        """The next `CHUNK` product ids behind `after`."""
        with self._txn.cursor(db=self._databases["states"]) as cursor:
            if not cursor.set_range(after + b"\0"):
                return []
            return list(islice(cursor.iternext(values=False), CHUNK))

    def holds(self, database: str) -> bool:
        """Whether the shard has this database; a store of an earlier version may lack it."""
        return database in self._databases

    def last_of(self, database: str) -> bytes | None:
        """The last key, None when there is none."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            return cursor.key() if cursor.last() else None

    def prefixes(self, database: str, length: int) -> Slice:
        """The entries whose keys are the first of those that begin with the same `length` bytes."""
        found = []
        with self._txn.cursor(db=self._databases[database]) as cursor:
            there = cursor.first()
            while there:
                found.append(cursor.item())
                after = int.from_bytes(cursor.key()[:length], "big") + 1
                there = cursor.set_range(after.to_bytes(length, "big"))
        return found

    def put(self, database: str, items: Slice, behind: bool = False) -> None:
        """Write sealed values, in a transaction that may. `behind`: sorted, and behind all that are there."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            cursor.putmulti(items, append=behind)

    def drop(self, database: str, keys: Iterable[bytes]) -> None:
        """Remove entries, in a transaction that may."""
        for key in keys:
            self._txn.delete(key, db=self._databases[database])

    def set_note(self, name: str, value: object) -> None:
        """Write a meta entry, or remove it where `value` is None."""
        if value is None:
            self.drop("meta", [name.encode()])
        else:
            self.put("meta", [_note(name, value)])

    def note(self, name: str) -> Any:
        """A meta entry, None when there is none."""
        key = name.encode()
        value = self._txn.get(key, db=self._databases["meta"])
        return None if value is None else json.loads(unseal("meta", key, value))

    @property
    def full_day(self) -> int:
        """The latest full day ingested, `NEVER` before the first."""
        day: int | None = self.note("full_day")
        return NEVER if day is None else day

    @property
    def live(self) -> int:
        """Number of live products."""
        return int(self.note("live") or 0)

    @property
    def head(self) -> int:
        """The latest sequence number."""
        with self._txn.cursor(db=self._databases["sequence"]) as cursor:
            return int.from_bytes(cursor.key(), "big") if cursor.last() else 0

    def stat(self, database: str) -> dict[str, int]:
        """LMDB's page and entry counts."""
        found: dict[str, int] = self._txn.stat(self._databases[database])
        return found

    def databases(self) -> list[str]:
        """Those that the shard has; a store of an earlier version may lack some."""
        return list(self._databases)
