"""Ingest of a day's table. Repeating a day changes nothing; days in any order give the same store.

`mmprod.datasets.store.state` describes the merge and why the order of days does not matter.
"""

import dataclasses
import datetime
import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.identity import day_number, shard_of
from mmprod.datasets.ingest.added import merge_added
from mmprod.datasets.ingest.counts import DayCounts
from mmprod.datasets.ingest.delivery import (
    DeliveredBatch,
    DeliveredTable,
    Row,
    choose,
    refused_keys,
    rows,
)
from mmprod.datasets.ingest.digests import RowDigests
from mmprod.datasets.ingest.merge import Day, Part, absences, close_day, merge_absences, merge_part
from mmprod.datasets.ingest.pictures import Pictures
from mmprod.datasets.ingest.presence import Roll, call_roll
from mmprod.datasets.ingest.same import Columns, Indices, merge_same
from mmprod.datasets.ingest.writers import Writers
from mmprod.datasets.store.changelog import Change, refused_place, row_place
from mmprod.datasets.store.shard import Rewrite
from mmprod.datasets.store.state import NEVER
from mmprod.datasets.store.store import Store
from mmprod.datasets.volatile import NAMES
from mmprod.storage.errors import InputError
from mmprod.storage.faults import fault

SMALL = 20
"""With fewer live products than this a full day may remove any number: the share would mean little."""

REWRITTEN_AT_ONCE = 200_000
"""States gathered before they are written in order of key, 100 MB at most for ids of usual length."""

WRITERS_FROM = 20_000
"""Rows that are merged before processes for the shards are started, which takes them half a second."""

READ_AT_ONCE = 1_000
"""Rows merged at once if pictures must be read or fetched: those are held in memory until the commit."""


def ingest_day(
    store: Store,
    table: DeliveredTable,
    day: datetime.date,
    *,
    full: bool,
    pictures: Pictures,
    max_removed_share: float = 0.3,
    approve_removals: bool = False,
    batch_rows: int = 10_000,
    volatile: Collection[str] = NAMES,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> DayCounts:
    """Merge the table of `day` into the store. `full`: the table lists the whole catalogue, so that products
    which it leaves out are removed. `volatile` names the attributes that change daily and concern no encoder.
    `processes`: how many may write at once, each to shards of its own; fewer are used for few changes.

    `Store.changes_of` returns the changes row by row until they are forgotten; replaying the same table logs
    nothing new. `on_progress` is called with the number of rows read so far. Of several usable rows with one
    id, the one with the greatest version counts; of equal versions, the last row.

    After a crash the committed batches stay; running the day again completes it, and counts only what was
    left to do. `max_removed_share` protects against incomplete tables: deletions by row don't count towards
    it; products whose rows can't be used do count, although they are not removed.

    Raises, before anything is changed: TableRefused, an InputError, when the table has no usable row or would
    remove more than `max_removed_share` of the live products without approval (from 20 live products on);
    InputError when rows of one id may be parts of one product. OSError when the disk is full or fails.
    """
    with ThreadPoolExecutor(1) as pool:  # hashing releases Python's lock: the ids are read meanwhile
        fingerprint = pool.submit(lambda: table.fingerprint)
        roll = call_roll(lambda: table.identities(batch_rows), day_number(day))
        today = Day(day, full, fingerprint.result())
    if not len(roll.hashes):
        raise TableRefused(
            f"the table of {day} has no usable row of a live product; an empty table does not remove products"
        )
    if roll.winners:
        table.check_repeated(roll.winners)
    leaving = full and _check_removals(store, today, roll, 1.0 if approve_removals else max_removed_share)
    with ExitStack() as stack:
        stack.enter_context(_uncollected())
        run = _Run(store, today, pictures, roll, volatile, processes, stack)
        for batch in table.batches(batch_rows):
            fault("ingest.read")
            run.take(batch)
            gc.collect(1)
            if on_progress:
                on_progress(run.tally["read"])
        return run.finish(leaving)


def _check_removals(store: Store, day: Day, roll: Roll, share: float) -> bool:
    """Whether absent products require any write. Raises InputError when too many products are absent."""
    live = sum(shard.read(lambda view: view.live) for shard in store.shards)
    removed = touched = 0
    for shard in store.shards:
        for writes in absences(shard, day, roll):
            touched += len(writes)
            removed -= sum(write.live for write in writes)
    if live >= SMALL and removed > share * live:
        raise TableRefused(
            f"the full table of {day.date} leaves out {removed} of {live} live products "
            f"({removed / live:.1%}, allowed {share:.1%}); rows that can't be used count as left out. If the "
            "table is complete, approve with --approve-removals, else ingest it as partial"
        )
    return touched > 0


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without automatic garbage collection: rows make no cycles, and the collector would visit each of a
    batch again and again, for a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class TableRefused(InputError):  # noqa: N818 (the outcome of a table)
    """A table that lacks usable rows; the caller should report why its rows can't be used."""


class _Run:
    """The state of one ingest run over a table."""

    def __init__(
        self,
        store: Store,
        day: Day,
        pictures: Pictures,
        roll: Roll,
        volatile: Collection[str],
        processes: int,
        stack: ExitStack,
    ) -> None:
        self.store, self.day, self.pictures, self.roll, self.volatile = store, day, pictures, roll, volatile
        self.processes, self._stack = processes, stack
        self._writers: Writers | None = None
        self._near = 0  # rows merged whose picture came with them
        self.tally: Counter[str] = Counter()
        self._places = {"usable": 0, "refused": 0}  # number of the table's next row of each kind
        self._refused: set[bytes] = set()  # ids of refused rows that have no usable row
        self._rewrites: list[list[Rewrite]] = [[] for _ in store.shards]

    def take(self, batch: DeliveredBatch) -> None:
        """Merge one batch of the table."""
        changes = self._refusals(batch)
        refused = self.roll.absent(refused_keys(batch.refused))
        self._refused.update(refused)
        ids, start = batch.accepted.column("product_id").to_pylist(), self._places["usable"]
        self._places["usable"] += len(ids)
        changes += [_change(batch, ids, start, row, "figure_unread", told) for row, told in batch.unread]
        lost = self.roll.losers(ids, start)
        changes += [_change(batch, ids, start, row, "stale", "duplicate") for row in lost]
        self.tally.update(
            read=len(ids) + len(batch.refused) + batch.merged,
            stale=len(lost),
            merged=batch.merged,
            figures_unread=len(batch.unread),
            ids_plain=batch.plain_ids,
        )
        self._merge([], refused, changes)
        columns = Columns.of(batch.accepted, self.volatile)
        rest = self._merge_same(columns, np.delete(np.arange(len(ids)), lost))
        far = rest[columns.elsewhere[rest]]
        for first in range(0, len(far), READ_AT_ONCE):
            chosen = choose(batch, far[first : first + READ_AT_ONCE], start, columns.digests)
            self._merge(rows(chosen, self.volatile), [], [])
        self._merge_near(batch, rest[~columns.elsewhere[rest]], start, columns.digests)

    def finish(self, leaving: bool) -> DayCounts:
        """Remove absent products and close the day."""
        self._write_same()
        if self._writers:
            self.tally.update(self._writers.finish())
        roll = self.roll.with_ids(self._refused)
        for shard in self.store.shards:
            if leaving:
                merge_absences(shard, self.day, roll, self.tally)
        counts = DayCounts(**self.tally)
        counts.check_balance()
        for shard in self.store.shards:
            close_day(shard, self.day, dataclasses.asdict(counts))
        return counts

    def _merge_near(self, batch: DeliveredBatch, near: Indices, start: int, digests: RowDigests) -> None:
        """Merge rows whose picture comes with them, many of them by a process for each shard."""
        self._near += len(near)
        if self._writers is None and self.processes > 1 and self._near > WRITERS_FROM:
            count = min(self.processes, len(self.store.shards))
            self._writers = self._stack.enter_context(Writers(self.store, self.day, self.volatile, count))
        ids = batch.accepted.column("product_id").cast(pa.binary()).take(pa.array(near)).to_pylist()
        home = np.fromiter((shard_of(key, len(self.store.shards)) for key in ids), np.int64, len(ids))
        for number in np.unique(home).tolist():
            chosen = choose(batch, near[home == number], start, digests)
            if self._writers:
                self._writers.send(number, chosen)
            else:
                shard, found = self.store.shards[number], rows(chosen, self.volatile)
                left = merge_added(shard, self.day, found, self.tally)
                merge_part(shard, self.day, Part(list(left), [], []), self.pictures, self.tally)

    def _merge_same(self, columns: Columns, chosen: Indices) -> Indices:
        """Merge the rows that equal the store's, by shard; returns the places of the others."""
        ids = columns.batch.column("product_id").cast(pa.binary()).take(pa.array(chosen))
        order = pc.array_sort_indices(ids).to_numpy()
        chosen, keys = chosen[order], ids.take(pa.array(order)).to_pylist()
        count, rest = len(self.store.shards), [np.empty(0, np.int64)]
        home = np.fromiter((shard_of(key, count) for key in keys), np.int64, len(keys)) if count > 1 else None
        for number, shard in enumerate(self.store.shards):
            mine = np.arange(len(keys)) if home is None else np.flatnonzero(home == number)
            found = [keys[i] for i in mine.tolist()]
            if found:
                made, other = merge_same(shard, self.day, columns, chosen[mine], found, self.tally)
                self._rewrites[number] += made
                rest.append(other)
        if sum(map(len, self._rewrites)) >= REWRITTEN_AT_ONCE:
            self._write_same()
        return np.sort(np.concatenate(rest))

    def _write_same(self) -> None:
        """Write the gathered states in order of key: each page of a shard is then written once."""
        for number, (shard, made) in enumerate(zip(self.store.shards, self._rewrites, strict=True)):
            self._rewrites[number] = []
            shard.write([], NEVER, rewrites=sorted(made), day=self.day.date)

    def _refusals(self, batch: DeliveredBatch) -> list[Change]:
        start = self._places["refused"]
        self._places["refused"] += len(batch.refused)
        self.tally["quarantined"] += len(batch.refused)
        return [
            Change(refused_place(number), bad.product_id, "quarantined", bad.reason, bad.source)
            for number, bad in enumerate(batch.refused, start)
        ]

    def _merge(self, found: list[Row], refused: list[bytes], changes: list[Change]) -> None:
        parts = [Part([], [], []) for _ in self.store.shards]
        for row in found:
            parts[shard_of(row.key, len(parts))].rows.append(row)
        for key in refused:
            parts[shard_of(key, len(parts))].refused.append(key)
        for change in changes:
            key = (change.product_id or change.source).encode(errors="replace")
            parts[shard_of(key, len(parts))].changes.append(change)
        for shard, part in zip(self.store.shards, parts, strict=True):
            if any(part):
                merge_part(shard, self.day, part, self.pictures, self.tally)


def _change(batch: DeliveredBatch, ids: Sequence[str], start: int, row: int, kind: str, told: str) -> Change:
    """The change for a row of a batch that is not merged, or one whose figure is left out."""
    return Change(row_place(start + row), ids[row], kind, told, batch.sources[row])
