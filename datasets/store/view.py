"""A consistent view of one shard, within one transaction."""

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.store.state import NEVER, State, unpack

CHUNK = 10_000
"""Entries read in one transaction: a longer one would keep the writer from reusing pages."""

CHUNK_BYTES = 1 << 26

SEQUENCES = ("sequence", "field_sequence")
"""The databases that number changes: of picture, title and liveness, and of the lasting fields."""

Slice = Sequence[tuple[bytes, bytes]]


def note(name: str, value: object) -> tuple[bytes, bytes]:
    """A meta entry, sealed."""
    return name.encode(), seal(name.encode(), json.dumps(value).encode())


class View:
    """Reads the databases of a shard in one transaction, and writes to them if it is a write transaction."""

    def __init__(self, txn: Any, databases: dict[str, Any]) -> None:
        self._txn, self._databases = txn, databases

    def raw(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Sealed values by key, without missing keys. Fastest with sorted keys."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            return dict(cursor.getmulti(keys))

    def present(self, database: str, keys: Iterable[bytes]) -> set[bytes]:
        """Those of `keys` that exist; their values are not read."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            return set(cursor.getmulti(keys, values=False))

    def get(self, database: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Values by key, checksums verified."""
        return {key: unseal(database, key, value) for key, value in self.raw(database, keys).items()}

    def states(self, keys: Iterable[bytes]) -> dict[bytes, State]:
        """States by product id; ids without a state are left out."""
        full_day = self.full_day
        return {key: unpack(key, value, full_day) for key, value in self.raw("states", keys).items()}

    def slice(self, database: str, after: bytes, prefix: bytes = b"", count: int = CHUNK) -> Slice:
        """The next entries after key `after` whose keys begin with `prefix`, as stored.

        At most `count` entries; fewer once their values exceed `CHUNK_BYTES`.
        """
        found: list[tuple[bytes, bytes]] = []
        size = 0
        with self._txn.cursor(db=self._databases[database]) as cursor:
            if cursor.set_range(after + b"\0"):
                for key, value in islice(cursor.iternext(), count):
                    if not key.startswith(prefix):
                        break
                    found.append((key, value))
                    size += len(value)
                    if size > CHUNK_BYTES:
                        break
        return found

    def keys(self, after: bytes) -> list[bytes]:
        """The next `CHUNK` product ids after `after`."""
        with self._txn.cursor(db=self._databases["states"]) as cursor:
            if not cursor.set_range(after + b"\0"):
                return []
            return list(islice(cursor.iternext(values=False), CHUNK))

    def last_of(self, database: str) -> bytes | None:
        """The last key of a database, None when it is empty."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            return cursor.key() if cursor.last() else None

    def prefixes(self, database: str, length: int) -> Slice:
        """For each distinct prefix of `length` bytes, the first entry whose key has it."""
        found = []
        with self._txn.cursor(db=self._databases[database]) as cursor:
            there = cursor.first()
            while there:
                found.append(cursor.item())
                after = int.from_bytes(cursor.key()[:length], "big") + 1
                there = cursor.set_range(after.to_bytes(length, "big"))
        return found

    def put(self, database: str, items: Slice, behind: bool = False) -> None:
        """Write sealed values; needs a write transaction. `behind`: sorted, all after the existing keys."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            cursor.putmulti(items, append=behind)

    def drop(self, database: str, keys: Iterable[bytes]) -> None:
        """Remove entries; needs a write transaction."""
        for key in keys:
            self._txn.delete(key, db=self._databases[database])

    def set_note(self, name: str, value: object) -> None:
        """Write a meta entry; remove it when `value` is None."""
        if value is None:
            self.drop("meta", [name.encode()])
        else:
            self.put("meta", [note(name, value)])

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

    def head(self, sequence: str = "sequence") -> int:
        """The latest number of a sequence."""
        with self._txn.cursor(db=self._databases[sequence]) as cursor:
            return int.from_bytes(cursor.key(), "big") if cursor.last() else 0

    def stat(self, database: str) -> dict[str, int]:
        """LMDB's page and entry counts."""
        found: dict[str, int] = self._txn.stat(self._databases[database])
        return found

    def databases(self) -> list[str]:
        """Names of the shard's databases."""
        return list(self._databases)
