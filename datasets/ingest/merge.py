"""Merging a day's rows into one shard: states before, states after; only differences are written."""

import datetime
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from mmprod.datasets.identity import day_number
from mmprod.datasets.ingest.counts import outcome
from mmprod.datasets.ingest.delivery import Row
from mmprod.datasets.ingest.pictures import Delivered, Pictures, resolve
from mmprod.datasets.ingest.presence import Roll, departures
from mmprod.datasets.store import changelog, record, undo
from mmprod.datasets.store.changelog import Change, absent_place, row_place
from mmprod.datasets.store.shard import Shard, Write
from mmprod.datasets.store.state import State, delivered, gone, moves, seen, unheard, unpack
from mmprod.datasets.store.view import Slice, View


@dataclass(frozen=True)
class Day:
    """The day being ingested; `full` when its table holds the whole catalogue."""

    date: datetime.date
    full: bool
    table: str  # fingerprint

    @property
    def number(self) -> int:
        return day_number(self.date)

    def full_day(self, latest: int) -> int:
        """The latest full day once this day is ingested."""
        return max(latest, self.number) if self.full else latest

    @property
    def note(self) -> str:
        """Name of the meta entry that records which table of the day was completed last."""
        return undo.note(self.date)

    def closed(self, view: View) -> bool:
        """Whether the day was completed with this very table and kind: then the run is a replay."""
        entry = view.note(self.note)
        return entry is not None and (entry["kind"], entry["table"]) == (self.kind, self.table)

    @property
    def kind(self) -> str:
        return "full" if self.full else "partial"


class Part(NamedTuple):
    """The rows of a batch that belong to one shard. Each id occurs once, in `rows` or in `refused`."""

    rows: list[Row]
    refused: list[bytes]  # ids that have no usable row
    changes: list[Change]  # of rows that are not merged: refused ones and duplicates


@dataclass
class _Group:
    """Products of one shard with their states before and after."""

    before: dict[bytes, State]
    unwritten: dict[bytes, State]  # their states after the day if nothing were written
    full_day: int
    closed: bool

    @classmethod
    def load(cls, shard: Shard, day: Day, keys: list[bytes]) -> "_Group":
        raw, latest, closed = shard.read(
            lambda view: (view.raw("states", keys), view.full_day, day.closed(view))
        )
        before = _states(keys, raw, latest)
        full_day = day.full_day(latest)
        return cls(before, before if full_day == latest else _states(keys, raw, full_day), full_day, closed)


def _states(keys: list[bytes], raw: dict[bytes, bytes], full_day: int) -> dict[bytes, State]:
    nothing = unheard(full_day)
    return {key: unpack(key, raw[key], full_day) if key in raw else nothing for key in keys}


def merge_part(shard: Shard, day: Day, part: Part, pictures: Pictures, tally: Counter[str]) -> None:
    """Merge rows, and the presence of refused ones, in one transaction.

    The outcome of each row is counted in `tally`, under the names of `DayCounts`, and logged.
    """
    found = sorted(part.rows, key=attrgetter("key"))
    group = _Group.load(shard, day, sorted([*part.refused, *(row.key for row in found)]))
    after = group.before | {key: seen(group.before[key], day.number) for key in part.refused}
    rows = [row for row in found if not row.deleted]
    come = resolve(shard, rows, [after[row.key] for row in rows], day.number, pictures)
    bodies: dict[bytes, tuple[bytes, bytes | None]] = {}
    told: list[Change] = []
    for row, content in zip(rows, come, strict=True):
        old = after[row.key]
        after[row.key] = new = delivered(
            old, content.content, row.updated_at, day.number, row.volatile, row.digests
        )
        if not old.known or old.content != new.content:
            bodies[row.key] = record.body(row.title, content.reason, row.fields), content.picture
        told += _delivery(row, content, old, new, day.number)
    for row in found:
        if row.deleted:
            old = after[row.key]
            after[row.key] = gone(old, day.number)
            told.append(_deletion(row, old, after[row.key]))
    tally.update(_COUNTS.get(change.kind, change.kind) for change in told)
    writes = [
        _write(key, group.before[key], new, *bodies.get(key, (None, None)))
        for key, new in after.items()
        if new != group.unwritten[key]
    ]
    changes = _of_writes(told, writes) if group.closed else told + part.changes
    shard.write(writes, group.full_day, log=_log(day, changes), day=day.date)


UNLISTED = ("unchanged", "volatile")
"""Kinds that are counted only."""

_COUNTS = {"removed": "removed_by_row", "picture_rejected": "pictures_rejected"}


def _write(
    key: bytes, old: State, new: State, body: bytes | None = None, picture: bytes | None = None
) -> Write:
    return Write(key, new, body, picture, *moves(old, new), new.live - old.live)


def _log(day: Day, changes: list[Change]) -> Slice:
    return changelog.entries(day.date, day.table, (c for c in changes if c.kind not in UNLISTED))


def _of_writes(told: list[Change], writes: list[Write]) -> list[Change]:
    """The changes that a replay logs: those of products it writes, whose picture is only now available."""
    written = {write.key.decode() for write in writes}
    return [change for change in told if change.product_id in written]


def _delivery(row: Row, come: Delivered, old: State, new: State, day: int) -> Iterator[Change]:
    yield _change(row, *outcome(old, new, come.content, row.volatile, row.updated_at, day))
    fault = new.content.image_fault
    if come.reason and new.content == come.content and fault != (old.known and old.content.image_fault):
        yield _change(row, "picture_rejected", come.reason)


def _deletion(row: Row, old: State, new: State) -> Change:
    if old.live and new.live:
        return _change(row, "stale", "deletion of an earlier day")
    return _change(row, "removed", "deleted by row") if old.live else _change(row, "unchanged", "")


def _change(row: Row, kind: str, reason: str) -> Change:
    return Change(row_place(row.place), row.key.decode(), kind, reason, row.source)


def absences(shard: Shard, day: Day, roll: Roll) -> Iterator[list[Write]]:
    """The writes for products that a full table leaves out, in chunks."""
    latest = shard.read(lambda view: view.full_day)
    if day.number < latest:  # the later full day overrides this one
        return
    for keys, raw in departures(shard, roll):
        before, unwritten = _states(keys, raw, latest), _states(keys, raw, day.number)
        pairs = [(key, before[key], gone(before[key], day.number)) for key in keys]
        yield [_write(key, old, new) for key, old, new in pairs if new != unwritten[key]]


def merge_absences(shard: Shard, day: Day, roll: Roll, tally: Counter[str]) -> None:
    """Remove the products that a full table leaves out, one durable transaction a chunk."""
    for writes in absences(shard, day, roll):
        left = [write.key for write in writes if write.live < 0]
        tally["removed_by_absence"] += len(left)
        shard.write(writes, day.number, log=_log(day, [_absence(key) for key in left]), day=day.date)


def _absence(key: bytes) -> Change:
    return Change(absent_place(key), key.decode(), "removed", "absent from the full table", "")


def close_day(shard: Shard, day: Day, counts: dict[str, int]) -> None:
    """Record the day as completed. Writes nothing when the same table of this day was ingested last."""
    latest, closed = shard.read(lambda view: (view.full_day, day.closed(view)))
    notes: dict[str, object] = {}
    if day.full_day(latest) != latest:
        notes["full_day"] = day.number
    if not closed:
        notes[day.note] = {"kind": day.kind, "table": day.table, "counts": counts}
    shard.write([], latest, notes, day=day.date)
    undo.forget(shard, undo.KEPT)
