"""Ingest of a day's table: the same day again changes nothing, days in any order end in the same store.

How days are merged, and why their order does not matter, is told in `mmprod.datasets.state`.
"""

import dataclasses
import datetime
from collections.abc import Callable

from mmprod.datasets.counts import DayCounts, OnChange, Tally
from mmprod.datasets.delivery import DeliveredBatch, DeliveredTable, Row, refused_keys, rows
from mmprod.datasets.errors import InputError
from mmprod.datasets.faults import fault
from mmprod.datasets.identity import shard_of
from mmprod.datasets.merge import Day, absences, close_day, merge_absences, merge_rows
from mmprod.datasets.pictures import Pictures
from mmprod.datasets.presence import Roll, call_roll
from mmprod.datasets.store import Store

SMALL = 20
"""With fewer live products than this a full day may remove any number: a share of so few says nothing."""

READ_AT_ONCE = 1_000
"""Rows merged at once when pictures must be read or fetched, which are held in memory until the commit."""


def ingest_day(
    store: Store,
    table: DeliveredTable,
    day: datetime.date,
    *,
    full: bool,
    pictures: Pictures,
    on_change: OnChange,
    max_removed_share: float = 0.3,
    approve_removals: bool = False,
    batch_rows: int = 10_000,
    on_progress: Callable[[int], None] | None = None,
) -> DayCounts:
    """Merge the table of `day` into the store. `full`: the table holds the whole catalogue, so what it leaves
    out is removed.

    Change rows go to `on_change` in batches of schema `CHANGE`, each after the commit it tells of;
    `on_progress` gets the number of rows read so far. Of several usable rows with one id the one with the
    greatest version counts, of equal ones the last.

    A crash leaves whole batches; running the day again completes it and counts what was left to do. Towards
    `max_removed_share`, which guards against tables that lack rows, deletions by row don't count; products
    whose rows can't be used do, though they are not removed.

    Raises: InputError, before anything is changed, when the table is empty or would remove more than
    `max_removed_share` of the live products without approval (from 20 live products on);
    OSError when the disk is full or fails.
    """
    today = Day(day, full)
    roll = call_roll(lambda: table.identities(batch_rows), today.number)
    if not len(roll.hashes):
        raise InputError(f"the table of {day} has no usable row, and an empty table is never a mass removal")
    leaving = full and _check_removals(store, today, roll, 1.0 if approve_removals else max_removed_share)
    run = _Run(store, today, pictures, Tally(day, on_change), roll)
    for batch in table.batches(batch_rows):
        fault("ingest.read")
        run.take(batch)
        if on_progress:
            on_progress(run.tally.counts.read)
    return run.finish(leaving, table.fingerprint)


def _check_removals(store: Store, day: Day, roll: Roll, share: float) -> bool:
    """Whether absences leave anything to be written. Raises InputError when they are too many."""
    live = sum(shard.read(lambda view: view.live) for shard in store.shards)
    removed = touched = 0
    for shard in store.shards:
        for writes in absences(shard, day, roll):
            touched += len(writes)
            removed -= sum(write.live for write in writes)
    if live >= SMALL and removed > share * live:
        raise InputError(
            f"the full table of {day.date} leaves out {removed} of {live} live products, rows that "
            f"can't be used counted as left out "
            f"({removed / live:.1%}, allowed {share:.1%}); if it is complete, approve with "
            "--approve-removals, else ingest it as partial"
        )
    return touched > 0


class _Run:
    """One run over the rows of a table."""

    def __init__(self, store: Store, day: Day, pictures: Pictures, tally: Tally, roll: Roll) -> None:
        self.store, self.day, self.pictures, self.tally, self.roll = store, day, pictures, tally, roll
        self._place = 0  # of the next usable row in the table
        self._refused: set[bytes] = set()  # ids that have no usable row

    def take(self, batch: DeliveredBatch) -> None:
        """Merge one batch of the table."""
        self.tally.add("read", batch.accepted.num_rows + len(batch.refused))
        self.tally.add("quarantined", len(batch.refused))
        for bad in batch.refused:
            self.tally.change(bad.product_id, "quarantined", bad.reason, bad.source)
        refused = self.roll.absent(refused_keys(batch.refused))
        self._refused.update(refused)
        self._merge_by_shard([], refused)
        found = [row for row in rows(batch) if self._counts(row)]
        step = READ_AT_ONCE if any(row.image is None for row in found) else len(found) or 1
        for start in range(0, len(found), step):
            self._merge_by_shard(found[start : start + step], [])
        self.tally.flush()

    def finish(self, leaving: bool, fingerprint: str) -> DayCounts:
        """Remove what is absent, put the day in force."""
        roll = self.roll.with_ids(self._refused)
        for shard in self.store.shards:
            if leaving:
                merge_absences(shard, self.day, roll, self.tally)
        counts = self.tally.counts
        counts.check_balance()
        for shard in self.store.shards:
            close_day(shard, self.day, fingerprint, dataclasses.asdict(counts))
        return counts

    def _counts(self, row: Row) -> bool:
        """Whether the row speaks for its id: no other one of this table does."""
        product_id = row.key.decode()
        lost = self.roll.loses(product_id, self._place)
        self._place += 1
        if lost:
            self.tally.add("stale")
            self.tally.change(product_id, "stale", "duplicate", row.source)
        return not lost

    def _merge_by_shard(self, found: list[Row], refused: list[bytes]) -> None:
        shards = self.store.shards
        for number, shard in enumerate(shards):
            rows_here = [row for row in found if shard_of(row.key, len(shards)) == number]
            keys_here = [key for key in refused if shard_of(key, len(shards)) == number]
            if rows_here or keys_here:
                merge_rows(shard, self.day, rows_here, keys_here, self.pictures, self.tally)
