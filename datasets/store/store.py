"""The product store: the current data of every product, in LMDB, sharded by key hash.

Pictures, titles and liveness have their own positions (`head`, `changes_since`), and so have the lasting
fields (`field_head`, `field_changes_since`). Volatile fields such as sales move neither.

A store is a folder: ``store.json`` (`layout`: format and number of shards), ``LOCK`` and one LMDB environment
a shard. One process writes, any number read; readers see complete transactions only.
"""

import datetime
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mmprod.datasets.identity import EMPTY, shard_of
from mmprod.datasets.store import changelog, undo
from mmprod.datasets.store.checked_values import none_missing, unseal
from mmprod.datasets.store.copies import compact, export, shard_hash
from mmprod.datasets.store.layout import Numbering, Position, layout, numbering, shards_of
from mmprod.datasets.store.record import Record, decode
from mmprod.datasets.store.shard import LAST, Shard
from mmprod.datasets.store.state import State, unpack
from mmprod.datasets.store.stats import Stats, stats
from mmprod.datasets.store.verify import damages
from mmprod.storage import locks
from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder


class Changed(NamedTuple):
    """A product that changed, with its current state."""

    product_id: str
    shard: int
    state: State

    @property
    def image_hash(self) -> bytes:
        return self.state.content.image_hash

    @property
    def text_hash(self) -> bytes:
        return self.state.content.text_hash

    @property
    def live(self) -> bool:
        return self.state.live


class Store:
    """A product store. Open it with `Store.open`; close it with `close` or use it as a context manager.

    Pickling keeps the path only; unpickling opens the store for reading.
    """

    def __init__(
        self,
        path: Path,
        shards: list[Shard],
        lock: int | None,
        numbered: Numbering = Numbering(),  # noqa: B008
    ) -> None:
        self.path = path
        self.shards = shards
        self.numbering = numbered
        """The numbering that the positions are of: another one since the store was last resharded."""
        self._lock = lock

    @classmethod
    def open(cls, path: Path | str, shards: int | None = None, read_only: bool = False) -> "Store":
        """Open the store at `path`; a writer creates a missing one, with `shards` shards (default 1).

        Raises: StateError when another process writes, or when the store is missing, damaged, of another
        format, has another number of shards than `shards`, or is open in this process already, unless
        both are readers.
        """
        path = Path(path)
        lock = None if read_only else _lock(path)
        opened: list[Shard] = []
        try:
            count, numbered = shards_of(path, shards, read_only), numbering(path)
            for number in range(count):
                folder = path / f"shard-{number:03d}"
                opened.append(Shard(folder, read_only))
            if (layout(path)[1], numbering(path)) != (count, numbered):
                raise StateError(f"{path} was resharded while it was opened; run again")
        except BaseException:
            cls(path, opened, lock).close()
            raise
        return cls(path, opened, lock, numbered)

    def close(self) -> None:
        """Close all shards and release the writer's lock."""
        for shard in self.shards:
            shard.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _reader, (self.path,)

    @property
    def writable(self) -> bool:
        return self._lock is not None

    @property
    def lock(self) -> int:
        """The file descriptor of the writer's lock. Raises: StateError when the store is open for reading."""
        if self._lock is None:
            raise StateError(f"{self.path} is open to read only")
        return self._lock

    def get(self, product_id: str) -> Record | None:
        """The record of a product, live or removed; None when it was never delivered.

        Raises: StateError when its bytes are damaged.
        """
        return self.get_many([product_id])[0]

    def get_many(self, product_ids: Sequence[str]) -> list[Record | None]:
        """Records in the order of the ids, None for ids that were never delivered."""
        found: dict[str, Record] = {}
        for shard, keys in self._by_shard(product_ids):
            found.update(_records(shard, keys))
        return [found.get(product_id) for product_id in product_ids]

    def state(self, product_id: str) -> State | None:
        """The state of a product; None when the store has no entry for it."""
        key = product_id.encode()
        return self.shards[shard_of(key, len(self.shards))].states([key]).get(key)

    def known(self, product_ids: Iterable[str]) -> dict[str, Changed]:
        """The products among these that were ever delivered, in their current state."""
        found = {}
        for shard, keys in self._by_shard(product_ids):
            for key, state in shard.states(keys).items():
                if state.known:
                    product_id = key.decode()
                    found[product_id] = Changed(product_id, shard_of(key, len(self.shards)), state)
        return found

    def picture(self, image_hash: bytes) -> bytes | None:
        """The bytes of a picture by its 16-byte hash; None when the store doesn't have it."""
        for shard in self.shards:
            if found := shard.get("pictures", [image_hash]):
                return found[image_hash]
        return None

    def iterate(self, live_only: bool = True) -> Iterator[Record]:
        """All records, shard by shard, in order of id within each.

        Reads in short transactions, so a writer may work at the same time.
        """
        for shard in self.shards:
            for slice_, full_day in shard.chunks("states"):
                states = {key: unpack(key, value, full_day) for key, value in slice_}
                wanted = [k for k, state in states.items() if state.live or (state.known and not live_only)]
                bodies = shard.whole("records", wanted)
                for key in wanted:
                    yield decode(key.decode(), states[key], bodies[key])

    def live_ids(self) -> Iterator[str]:
        """Ids of the live products."""
        for shard in self.shards:
            for slice_, full_day in shard.chunks("states"):
                yield from (k.decode() for k, value in slice_ if unpack(k, value, full_day).live)

    def head(self) -> Position:
        """The position of the latest change in picture, title or liveness.

        Read it before `changes_since`, and save it after processing.
        """
        return self._head("sequence")

    def field_head(self) -> Position:
        """The position of the latest change in the lasting fields; see `field_changes_since`."""
        return self._head("field_sequence")

    def _head(self, sequence: str) -> Position:
        return tuple(shard.read(lambda view: view.head(sequence)) for shard in self.shards)

    def changes_since(
        self, position: Position | None = None, until: Position | None = None
    ) -> Iterator[Changed]:
        """Every product whose latest change lies after `position` (None: from the start), up to `until`.

        A change is one of picture, title or liveness. Products come in their current state; one that changes
        while this runs may come twice. The cost is proportional to the changes, not to the size of the store.
        Raises: StateError when `position` is of a store with another number of shards, or ahead of this one.
        """
        return self._changes("sequence", position, until)

    def field_changes_since(self, position: Position | None = None) -> Iterator[Changed]:
        """Every product whose lasting fields have changed after `position`, as `changes_since`.

        Volatile fields (`mmprod.datasets.volatile`) and removals are no change of lasting fields.
        """
        return self._changes("field_sequence", position, None)

    def _changes(self, sequence: str, position: Position | None, until: Position | None) -> Iterator[Changed]:
        start = (0,) * len(self.shards) if position is None else tuple(position)
        head = self._head(sequence)
        if len(start) != len(head) or any(a > b for a, b in zip(start, head, strict=True)):
            raise StateError(
                f"position {start} is not of this store, which is at {head}; read it from the start"
            )
        ends = until or (LAST,) * len(start)
        for number, (shard, after, end) in enumerate(zip(self.shards, start, ends, strict=True)):
            for keys in shard.changed(sequence, after, end):
                states = none_missing(shard.folder, "states", keys, shard.states(keys))
                yield from (Changed(key.decode(), number, states[key]) for key in keys)

    def placeholder_hashes(self, min_products: int) -> dict[bytes, int]:
        """Hashes of pictures shared by at least `min_products` live products, with the number of products.

        Reads all states.
        """
        counts: Counter[bytes] = Counter()
        for shard in self.shards:
            for slice_, full_day in shard.chunks("states"):
                states = (unpack(key, value, full_day) for key, value in slice_)
                counts.update(state.content.image_hash for state in states if state.live)
        return {key: count for key, count in counts.items() if count >= min_products and key != EMPTY}

    def days(self) -> dict[str, dict[str, object]]:
        """The ingested days: ISO day → kind (full or partial), table fingerprint, counts."""
        days: dict[str, dict[str, object]] = {}
        for slice_, _ in self.shards[-1].chunks("meta"):  # days are closed in this shard last
            for key, value in slice_:
                if key.startswith(b"day:"):
                    days[key[4:].decode()] = json.loads(unseal("meta", key, value))
        return days

    def changes_of(self, day: datetime.date) -> Iterator[pa.RecordBatch]:
        """The changes that `day` made, in batches of schema `CHANGE`, in table order within each shard.

        Rows are kept until `forget_changes`. Raises: StateError when one is damaged.
        """
        for shard in self.shards:
            yield from changelog.read(shard, day)

    def logs_of(self, day: datetime.date) -> set[str]:
        """Names of the logs that `changes_of` reads, empty when there are none.

        A log that begins anew after `forget_changes` gets a new name.
        """
        names = (changelog.name(shard, day) for shard in self.shards)
        return {name for name in names if name}

    def forget_changes(self, day: datetime.date) -> None:
        """Remove the rows that `changes_of` returns for the day, once published; repeatable after a crash."""
        for shard in self.shards:
            changelog.forget(shard, day)

    def undo_day(self, day: datetime.date) -> int:
        """Undo a day, as if it had never been ingested; returns the number of products put back.

        Raises: InputError unless `day` was ingested last, is one of the last `undo.KEPT` days, and is not the
        store's first day.
        """
        touched = undo.undo_day(self.path, self.shards, day)
        self.forget_changes(day)
        return touched

    def state_hash(self, days: bool = True) -> str:
        """Hex digest of the store's content, independent of the order in which it was ingested.

        Without `days`: of the content and `updated_at` of the live products only, as an export contains them.
        """
        total = sum(shard_hash(shard, days) for shard in self.shards)
        return hashlib.sha256(str(total % (1 << 256)).encode()).hexdigest()

    def verify(self, on_progress: Callable[[int], None] | None = None) -> list[str]:
        """Damage found in the store, in words; empty when it is sound. Reads every byte.

        `on_progress` is called with the number of entries checked so far.
        """
        done = 0

        def on_entries(count: int) -> None:
            nonlocal done
            done += count
            if on_progress:
                on_progress(done)

        return [
            f"shard {number}: {damage}"
            for number, shard in enumerate(self.shards)
            for damage in damages(shard, on_entries)
        ]

    def compact(self, target: Path | str) -> None:
        """Copy the store to the new folder `target`, without free pages and pictures no longer in use.

        Raises: InputError when `target` exists; StateError when the store was opened to read only.
        """
        if not self.writable:
            raise StateError(f"{self.path} is open to read only; compacting needs the writer's lock")
        compact(self.path, self.shards, Path(target))

    def export(self, path: Path | str) -> int:
        """Write the live products to a Parquet file of schema `PRODUCT`; returns the number of rows."""
        return export(self.iterate(), self.picture, Path(path))

    def stats(self) -> Stats:
        """Counts and sizes; does not read the products."""
        return stats(self.shards, len(self.days()))

    def _by_shard(self, product_ids: Iterable[str]) -> Iterator[tuple[Shard, list[bytes]]]:
        groups: dict[int, list[bytes]] = {}
        for key in sorted({product_id.encode() for product_id in product_ids}):
            groups.setdefault(shard_of(key, len(self.shards)), []).append(key)
        return ((self.shards[number], keys) for number, keys in groups.items())


def _reader(path: Path) -> Store:
    return Store.open(path, read_only=True)


def _records(shard: Shard, keys: list[bytes]) -> dict[str, Record]:
    states, bodies = shard.read(lambda view: (view.states(keys), view.get("records", keys)))
    states = {key: state for key, state in states.items() if state.known}
    none_missing(shard.folder, "records", states, bodies)
    return {key.decode(): decode(key.decode(), state, bodies[key]) for key, state in states.items()}


def _lock(path: Path) -> int:
    """The writer's lock, held until the file descriptor is closed or the process ends."""
    make_folder(path)
    try:
        return locks.hold_as_writer(path / "LOCK")
    except locks.HeldError as error:
        raise StateError(f"{path}: another run is writing (pid {error.holder}); wait for it") from error
