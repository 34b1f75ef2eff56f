"""Undo of the latest days: the data that a day overwrote is kept until a few more days have been ingested.

A day merges into registers from which it can't be separated again (see `state`), so undoing a day requires a
copy of the data before it. The `undo` database of a shard holds, sorted:

- order (4 bytes, big endian): the head of a day, with the shard's registers before the day;
- order + number (8 bytes): a product as it was before one of the day's writes, oldest first.

Entries are written in the transaction that overwrites. Days are undone newest first. Each product that is put
back gets a new sequence number, so that consumers of the store's changes see it.
"""

import datetime
import itertools
import json
import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.store.state import NEVER, State, pack, renumbered, unheard, unpack
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.datasets.store.shard import Shard, Write
    from mmprod.datasets.store.view import View

KEPT = 3
"""Number of days that can be undone."""

CHUNK = 5_000
_SIZES = struct.Struct("<HHI")  # of key, state and record; 0 for what did not exist


class Head(NamedTuple):
    """The registers before a day, and the number of product entries kept.

    `number` is None for the store's first day, which can't be undone.
    """

    order: int
    day: str
    full_day: int
    note: Any
    number: int | None


def heads(view: "View") -> list[Head]:
    """The days that can be undone, oldest first."""
    if not view.holds("undo"):
        return []
    return [_read_head(key, value) for key, value in view.prefixes("undo", 4)]


def put_aside(view: "View", day: datetime.date, writes: Sequence["Write"]) -> None:
    """Save the current data of the products of `writes`, within the transaction that overwrites them."""
    last = view.last_of("undo")
    head = None if last is None else _head(view, last[:4])
    if head is None or head.day != day.isoformat():
        _forget_some(view)
        number = 0 if head or view.head else None
        head = Head(
            head.order + 1 if head else 0, day.isoformat(), view.full_day, view.note(note(day)), number
        )
    if head.number is None:
        _put_head(view, head)
        return
    keys = [write.key for write in writes]
    states, records = view.raw("states", keys), view.raw("records", [w.key for w in writes if w.record])
    order = head.order.to_bytes(4, "big")
    entries = []
    for number, key in enumerate(keys, head.number):
        place = order + number.to_bytes(8, "big")
        entries.append((place, seal(place, _packed(key, states.get(key, b""), records.get(key, b"")))))
    view.put("undo", entries, behind=True)
    _put_head(view, head._replace(number=head.number + len(keys)))


def undo_day(path: Path, shards: Sequence["Shard"], day: datetime.date) -> int:
    """Undo a day in the shards of the store at `path`; see `Store.undo_day`."""
    kept = [shard.read(heads) for shard in shards]
    mine = [found[-1] if found and found[-1].day == day.isoformat() else None for found in kept]
    _check_last(path, kept, mine, day)
    return sum(take_back(shard, head) for shard, head in zip(shards, mine, strict=True) if head)


def _check_last(
    path: Path, kept: Sequence[Sequence[Head]], mine: Sequence[Head | None], day: datetime.date
) -> None:
    """Raise InputError unless `day` is the last one ingested, and not the first of all."""
    names = list(dict.fromkeys(head.day for found in kept for head in reversed(found)))
    if day.isoformat() not in names:
        raise InputError(
            f"{day} can't be taken back: these can, newest first: {', '.join(names) or 'none'}. "
            "Restore a copy of the store (`mmprod store backup`), ingest what came since"
        )
    if later := names[: names.index(day.isoformat())]:
        raise InputError(
            f"after {day} came {', '.join(reversed(later))}: take these back first, {later[0]} to begin "
            "with, and ingest their tables again afterwards"
        )
    if any(head and head.number is None for head in mine):
        raise InputError(f"{day} is the store's first day: remove {path} and ingest anew")


def take_back(shard: "Shard", head: Head) -> int:
    """Undo `head`, the newest day of the shard, one transaction a chunk; returns the number of products.

    After a crash, another call does the rest.
    """
    touched, number = 0, head.number or 0
    while number > 0:
        first = max(0, number - CHUNK)
        touched += shard.transact(partial(_restore, head=head, first=first, end=number))
        number = first
    shard.transact(lambda view: _close(view, head))
    return touched


def forget(shard: "Shard", keep: int) -> None:
    """Remove the undo entries of all but the latest `keep` days, one transaction a chunk."""
    old = shard.read(heads)[:-keep] if keep else shard.read(heads)
    for head in old:
        order = head.order.to_bytes(4, "big")
        for found, _ in shard.chunks("undo", order, order):
            shard.remove("undo", [key for key, _ in found])
        shard.remove("undo", [order])


def _forget_some(view: "View") -> None:
    """Remove the days that are too old, but at most one chunk of each; `forget` removes the rest later."""
    for head in heads(view)[: 1 - KEPT]:
        order = head.order.to_bytes(4, "big")
        found = view.slice("undo", order, order)
        view.drop("undo", [key for key, _ in found])
        if view.slice("undo", order, order):
            return
        view.drop("undo", [order])


def images(shard: "Shard") -> set[bytes]:
    """Hashes of the pictures that an undo would bring back."""
    found: set[bytes] = set()
    for head in shard.read(heads):
        order = head.order.to_bytes(4, "big")
        for entries, _ in shard.chunks("undo", order, order):
            for place, value in entries:
                key, state, _ = _unpacked(unseal("undo", place, value))
                found.update([unpack(key, state, head.full_day).content.image_hash] if state else [])
    return found


def note(day: datetime.date) -> str:
    """Name of the meta entry that records which table of the day was completed last."""
    return f"day:{day.isoformat()}"


def _restore(view: "View", head: Head, first: int, end: int) -> int:
    """Put back the entries `first` to `end` - 1, newest first, and remove them; returns how many products."""
    order = head.order.to_bytes(4, "big")
    places = [order + number.to_bytes(8, "big") for number in range(first, end)]
    kept = view.get("undo", places)
    before: dict[bytes, tuple[bytes, bytes]] = {}
    for place in sorted(kept, reverse=True):
        key, state, record = _unpacked(kept[place])
        known = before.get(key, (b"", b""))
        before[key] = state, record or known[1]
    now = view.states(sorted(before))
    sequence, live = view.head, view.live
    for key, (raw, record) in sorted(before.items()):
        old = unpack(key, raw, head.full_day) if raw else unheard(head.full_day)
        found = now[key]
        live += int(old.live) - int(found.live)
        moved = (old.content, old.live, old.known) != (found.content, found.live, found.known)
        if moved and found.sequence:
            view.drop("sequence", [found.sequence.to_bytes(8, "big")])
        sequence += moved
        number = sequence if moved else found.sequence
        if number:
            view.put("sequence", [(number.to_bytes(8, "big"), key)])
        _put_product(view, key, raw, record, number)
    view.set_note("live", live)
    view.drop("undo", places)
    return len(before)


def _put_product(view: "View", key: bytes, state: bytes, record: bytes, number: int) -> None:
    """Put back a product's old data. One that did not exist keeps at most a sequence number, for consumers.

    Its state is then packed without a full day, so that it can be read under any.
    """
    if record:
        view.put("records", [(key, record)])
    if state:
        view.put("states", [(key, renumbered(key, state, number))])
        return
    view.drop("records", [key])
    if number:
        view.put("states", [(key, pack(key, State(sequence=number), NEVER))])
    else:
        view.drop("states", [key])


def _close(view: "View", head: Head) -> None:
    view.set_note("full_day", None if head.full_day == NEVER else head.full_day)
    view.set_note(note(datetime.date.fromisoformat(head.day)), head.note)
    view.drop("undo", [head.order.to_bytes(4, "big")])


def _head(view: "View", key: bytes) -> Head:
    return _read_head(key, view.raw("undo", [key])[key])


def _read_head(key: bytes, value: bytes) -> Head:
    return Head(int.from_bytes(key, "big"), *json.loads(unseal("undo", key, value)))


def _put_head(view: "View", head: Head) -> None:
    order = head.order.to_bytes(4, "big")
    view.put("undo", [(order, seal(order, json.dumps(head[1:]).encode()))])


def _packed(key: bytes, state: bytes, record: bytes) -> bytes:
    return _SIZES.pack(len(key), len(state), len(record)) + key + state + record


def _unpacked(data: bytes) -> tuple[bytes, bytes, bytes]:
    sizes = _SIZES.unpack_from(data)
    ends = [_SIZES.size]
    for size in sizes:
        ends.append(ends[-1] + size)
    key, state, record = (data[a:b] for a, b in itertools.pairwise(ends))
    return key, state, record
