"""Merging what a day says into one shard: states before, states after, and only the difference written."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from mmprod.datasets import record
from mmprod.datasets.counts import Tally, outcome
from mmprod.datasets.delivery import Row
from mmprod.datasets.identity import day_number
from mmprod.datasets.pictures import Delivered, Pictures, resolve
from mmprod.datasets.presence import Roll, departures
from mmprod.datasets.shard import Shard, Write
from mmprod.datasets.state import State, delivered, gone, seen, unheard, unpack


@dataclass(frozen=True)
class Day:
    """The day being ingested; `full` when its table holds the whole catalogue."""

    date: datetime.date
    full: bool

    @property
    def number(self) -> int:
        return day_number(self.date)

    def full_day(self, latest: int) -> int:
        """The latest full day once this day is ingested."""
        return max(latest, self.number) if self.full else latest


@dataclass
class _Group:
    """Products of one shard with their states before and after."""

    before: dict[bytes, State]
    settled: dict[bytes, State]  # what the bytes in the store will say once the day is ingested
    full_day: int

    @classmethod
    def load(cls, shard: Shard, day: Day, keys: list[bytes]) -> "_Group":
        raw, latest = shard.read(lambda view: (view.raw("states", keys), view.full_day))
        before = _states(keys, raw, latest)
        full_day = day.full_day(latest)
        return cls(before, before if full_day == latest else _states(keys, raw, full_day), full_day)


def _states(keys: list[bytes], raw: dict[bytes, bytes], full_day: int) -> dict[bytes, State]:
    nothing = unheard(full_day)
    return {key: unpack(key, raw[key], full_day) if key in raw else nothing for key in keys}


def merge_rows(
    shard: Shard, day: Day, found: Sequence[Row], refused: Sequence[bytes], pictures: Pictures, tally: Tally
) -> None:
    """Merge rows, and the mere presence of `refused`, in one transaction or none. Each id comes once."""
    found = sorted(found, key=attrgetter("key"))
    group = _Group.load(shard, day, sorted([*refused, *(row.key for row in found)]))
    after = group.before | {key: seen(group.before[key], day.number) for key in refused}
    rows = [row for row in found if not row.deleted]
    come = resolve(shard, rows, [after[row.key] for row in rows], day.number, pictures)
    bodies: dict[bytes, tuple[bytes, bytes | None]] = {}
    for row, content in zip(rows, come, strict=True):
        old = after[row.key]
        after[row.key] = new = delivered(old, content.content, row.updated_at, day.number)
        if not old.known or old.content != new.content:
            bodies[row.key] = record.body(row.title, content.reason, row.fields), content.picture
        _count(tally, row, content, old, new, day.number)
    for row in found:
        if row.deleted:
            old = after[row.key]
            after[row.key] = gone(old, day.number)
            _count_deletion(tally, row, old, after[row.key])
    writes = [
        _write(key, group.before[key], new, *bodies.get(key, (None, None)))
        for key, new in after.items()
        if new != group.settled[key]
    ]
    shard.write(writes, group.full_day)


def _write(
    key: bytes, old: State, new: State, body: bytes | None = None, picture: bytes | None = None
) -> Write:
    moved = old.content != new.content or old.live != new.live
    return Write(key, new, body, picture, moved, int(new.live) - int(old.live))


def _count(tally: Tally, row: Row, come: Delivered, old: State, new: State, day: int) -> None:
    kind, reason = outcome(old, new, come.content, row.updated_at, day)
    tally.add(kind)
    if kind != "unchanged":
        tally.change(row.key.decode(), kind, reason, row.source)
    fault = new.content.image_fault
    if come.reason and new.content == come.content and fault != (old.known and old.content.image_fault):
        tally.add("pictures_rejected")
        tally.change(row.key.decode(), "picture_rejected", come.reason, row.source)


def _count_deletion(tally: Tally, row: Row, old: State, new: State) -> None:
    if old.live and new.live:
        tally.add("stale")
        tally.change(row.key.decode(), "stale", "deletion of an earlier day", row.source)
    elif old.live:
        tally.add("removed_by_row")
        tally.change(row.key.decode(), "removed", "deleted by row", row.source)
    else:
        tally.add("unchanged")


def absences(shard: Shard, day: Day, roll: Roll) -> Iterator[list[Write]]:
    """What the products left out of a full table leave to be written, in chunks."""
    latest = shard.read(lambda view: view.full_day)
    if day.number < latest:  # the later full day has decided
        return
    for keys, raw in departures(shard, roll):
        before, settled = _states(keys, raw, latest), _states(keys, raw, day.number)
        pairs = [(key, before[key], gone(before[key], day.number)) for key in keys]
        yield [_write(key, old, new) for key, old, new in pairs if new != settled[key]]


def merge_absences(shard: Shard, day: Day, roll: Roll, tally: Tally) -> None:
    """Remove what a full table leaves out, a durable transaction a chunk."""
    for writes in absences(shard, day, roll):
        shard.write(writes, day.number)
        for write in writes:
            if write.live < 0:
                tally.add("removed_by_absence")
                tally.change(write.key.decode(), "removed", "absent from the full table", "")
        tally.flush()


def close_day(shard: Shard, day: Day, fingerprint: str, counts: dict[str, int]) -> None:
    """Put the day in force. Writes nothing when the same table of this day was ingested last."""
    name, kind = f"day:{day.date.isoformat()}", "full" if day.full else "partial"
    latest, entry = shard.read(lambda view: (view.full_day, view.note(name)))
    notes: dict[str, object] = {}
    if day.full_day(latest) != latest:
        notes["full_day"] = day.number
    if entry is None or (entry["kind"], entry["table"]) != (kind, fingerprint):
        notes[name] = {"kind": kind, "table": fingerprint, "counts": counts}
    shard.write([], latest, notes)
