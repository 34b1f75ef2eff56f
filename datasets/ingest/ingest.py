"""Ingest of a day's table. Repeating a day changes nothing; days in any order give the same store.

`mmprod.datasets.store.state` describes the merge and why the order of days does not matter.
"""

import dataclasses
import datetime
from collections import Counter
from collections.abc import Callable

from mmprod.datasets.identity import shard_of
from mmprod.datasets.ingest.counts import DayCounts
from mmprod.datasets.ingest.delivery import DeliveredBatch, DeliveredTable, Row, refused_keys, rows
from mmprod.datasets.ingest.merge import Day, Part, absences, close_day, merge_absences, merge_part
from mmprod.datasets.ingest.pictures import Pictures
from mmprod.datasets.ingest.presence import Roll, call_roll
from mmprod.datasets.store.changelog import Change, refused_place, row_place
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import InputError
from mmprod.storage.faults import fault

SMALL = 20
"""With fewer live products than this a full day may remove any number: the share would mean little."""

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
    on_progress: Callable[[int], None] | None = None,
) -> DayCounts:
    """Merge the table of `day` into the store. `full`: the table lists the whole catalogue, so that products
    which it leaves out are removed.

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
    today = Day(day, full, table.fingerprint)
    roll = call_roll(lambda: table.identities(batch_rows), today.number)
    if not len(roll.hashes):
        raise TableRefused(
            f"the table of {day} has no usable row of a live product; an empty table does not remove products"
        )
    if roll.winners:
        table.check_repeated(roll.winners)
    leaving = full and _check_removals(store, today, roll, 1.0 if approve_removals else max_removed_share)
    run = _Run(store, today, pictures, roll)
    for batch in table.batches(batch_rows):
        fault("ingest.read")
        run.take(batch)
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


class TableRefused(InputError):  # noqa: N818 (the outcome of a table)
    """A table that lacks usable rows; the caller should report why its rows can't be used."""


class _Run:
    """The state of one ingest run over a table."""

    def __init__(self, store: Store, day: Day, pictures: Pictures, roll: Roll) -> None:
        self.store, self.day, self.pictures, self.roll = store, day, pictures, roll
        self.tally: Counter[str] = Counter()
        self._places = {"usable": 0, "refused": 0}  # number of the table's next row of each kind
        self._refused: set[bytes] = set()  # ids of refused rows that have no usable row

    def take(self, batch: DeliveredBatch) -> None:
        """Merge one batch of the table."""
        changes = self._refusals(batch)
        refused = self.roll.absent(refused_keys(batch.refused))
        self._refused.update(refused)
        found = list(rows(batch, self._places["usable"]))
        self._places["usable"] += len(found)
        changes += [_unread(found[row], told) for row, told in batch.unread]
        lost = [row for row in found if self.roll.loses(row.key.decode(), row.place)]
        if lost:
            found = [row for row in found if not self.roll.loses(row.key.decode(), row.place)]
        changes += [_duplicate(row) for row in lost]
        read = batch.accepted.num_rows + len(batch.refused) + batch.merged
        self.tally.update(
            read=read,
            stale=len(lost),
            merged=batch.merged,
            figures_unread=len(batch.unread),
            ids_plain=batch.plain_ids,
        )
        self._merge([], refused, changes)
        step = READ_AT_ONCE if any(row.image is None for row in found) else len(found) or 1
        for start in range(0, len(found), step):
            self._merge(found[start : start + step], [], [])

    def finish(self, leaving: bool) -> DayCounts:
        """Remove absent products and close the day."""
        roll = self.roll.with_ids(self._refused)
        for shard in self.store.shards:
            if leaving:
                merge_absences(shard, self.day, roll, self.tally)
        counts = DayCounts(**self.tally)
        counts.check_balance()
        for shard in self.store.shards:
            close_day(shard, self.day, dataclasses.asdict(counts))
        return counts

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


def _unread(row: Row, told: str) -> Change:
    """The change for an unreadable figure: the figure is left out, the product is kept."""
    return Change(row_place(row.place), row.key.decode(), "figure_unread", told, row.source)


def _duplicate(row: Row) -> Change:
    return Change(row_place(row.place), row.key.decode(), "stale", "duplicate", row.source)
