"""Undo of the latest days: the data that a day overwrote is kept until a few more days have been ingested.

A day merges into registers from which it can't be separated again (see `state`), so undoing a day requires a
copy of the data before it. The `undo` database of a shard holds, sorted:

- order (4 bytes, big endian): the head of a day, with the shard's registers before the day;
- order + number (8 bytes): a block of products as they were before the day's writes, oldest first.

Entries are written in the transaction that overwrites. Days are undone newest first. Each product whose
content is put back gets a new sequence number, so that consumers of the store's changes see it.
"""

import datetime
import itertools
import json
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.store.state import NEVER, State, moves, pack, renumbered, unheard, unpack
from mmprod.datasets.store.view import SEQUENCES
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.datasets.store.shard import Rewrite, Shard, Write
    from mmprod.datasets.store.view import View

KEPT = 3
"""Number of days that can be undone."""

_BLOCK = 1_000  # products
_BLOCKS = 5  # put back in one transaction
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
    return [_read_head(key, value) for key, value in view.prefixes("undo", 4)]


def put_aside(
    view: "View", day: datetime.date, writes: Sequence["Write"], rewrites: Sequence["Rewrite"] = ()
) -> None:
    """Save the current data of the products written, within the transaction that overwrites them."""
    last = view.last_of("undo")
    head = None if last is None else _head(view, last[:4])
    if head is None or head.day != day.isoformat():
        _forget_some(view)
        number = 0 if head or view.head() or view.slice("meta", b"day:", b"day:", 1) else None
        head = Head(
            head.order + 1 if head else 0, day.isoformat(), view.full_day, view.note(note(day)), number
        )
    if head.number is None:
        _put_head(view, head)
        return
    keys = [write.key for write in writes]
    states, records = view.raw("states", keys), view.raw("records", [w.key for w in writes if w.record])
    packed = [_packed(key, states.get(key, b""), records.get(key, b"")) for key in keys]
    packed += [_packed(key, before, b"") for key, before, _ in rewrites]
    order = head.order.to_bytes(4, "big")
    entries = []
    for start in range(0, len(packed), _BLOCK):
        place = order + (head.number + start).to_bytes(8, "big")
        entries.append((place, seal(place, b"".join(packed[start : start + _BLOCK]))))
    view.put("undo", entries, behind=True)
    _put_head(view, head._replace(number=head.number + len(packed)))


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
    if later := list(dict.fromkeys(name for found in kept for name in _after(found, day.isoformat()))):
        raise InputError(
            f"after {day} came {', '.join(reversed(later))}: take these back first, {later[0]} to begin "
            "with, and ingest their tables again afterwards"
        )
    if any(head and head.number is None for head in mine):
        raise InputError(f"{day} is the store's first day: remove {path} and ingest anew")


def _after(kept: Sequence[Head], day: str) -> list[str]:
    """The days ingested after `day`, newest first; none where `day` is undone already, or was never there."""
    names = [head.day for head in reversed(kept)]
    return names[: names.index(day)] if day in names else []


def half_undone(shards: Sequence["Shard"]) -> str | None:
    """The day that a killed `undo_day` has undone in part; None when there is none.

    Shards are undone in their order, and so are they closed by a day's ingest.
    """
    for number, shard in enumerate(shards):
        kept = shard.read(heads)
        if kept and not shard.read(partial(_is_whole, head=kept[-1])):
            return kept[-1].day
        for head in kept:
            noted = partial(_note_of, day=head.day)
            if shard.read(noted) != head.note and head.note in (s.read(noted) for s in shards[:number]):
                return head.day
    return None


def _note_of(view: "View", day: str) -> Any:
    return view.note(note(datetime.date.fromisoformat(day)))


def _is_whole(view: "View", head: Head) -> bool:
    """Whether all blocks of the latest day are there."""
    place, found = view.last_of("undo"), 0
    if place is not None and len(place) > 4:
        found = int.from_bytes(place[4:], "big") + sum(1 for _ in _unpacked(view.get("undo", [place])[place]))
    return found == (head.number or 0)


def take_back(shard: "Shard", head: Head) -> int:
    """Undo `head`, the newest day of the shard, some blocks a transaction; returns the number of products.

    After a crash, another call does the rest.
    """
    touched = 0
    while found := shard.transact(partial(_restore, head=head)):
        touched += found
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
                for key, state, _ in _unpacked(unseal("undo", place, value)):
                    found.update([unpack(key, state, head.full_day).content.image_hash] if state else [])
    return found


def note(day: datetime.date) -> str:
    """Name of the meta entry that records which table of the day was completed last."""
    return f"day:{day.isoformat()}"


def _restore(view: "View", head: Head) -> int:
    """Put back the newest blocks of a day and remove them; returns how many products, 0 when none is left."""
    before: dict[bytes, tuple[bytes, bytes]] = {}
    for _ in range(_BLOCKS):
        place = view.last_of("undo")
        if place is None or len(place) == 4:  # the head
            break
        for key, state, record in reversed(list(_unpacked(view.get("undo", [place])[place]))):
            before[key] = state, record or before.get(key, (b"", b""))[1]
        view.drop("undo", [place])
    now = view.states(sorted(before))
    heads, live = [view.head(name) for name in SEQUENCES], view.live
    for key, (raw, record) in sorted(before.items()):
        old = unpack(key, raw, head.full_day) if raw else unheard(head.full_day)
        found = now[key]
        live += int(old.live) - int(found.live)
        numbers = list(found[-2:])
        for i, moved in enumerate(moves(found, old)):
            if moved:
                if numbers[i]:
                    view.drop(SEQUENCES[i], [numbers[i].to_bytes(8, "big")])
                heads[i] += 1
                numbers[i] = heads[i]
                view.put(SEQUENCES[i], [(numbers[i].to_bytes(8, "big"), key)], behind=True)
        _put_product(view, key, raw, record, numbers)
    view.set_note("live", live)
    return len(before)


def _put_product(view: "View", key: bytes, state: bytes, record: bytes, numbers: Sequence[int]) -> None:
    """Put back a product's old data. One that did not exist keeps at most sequence numbers, for consumers.

    Its state is then packed without a full day, so that it can be read under any.
    """
    if record:
        view.put("records", [(key, record)])
    if state:
        view.put("states", [(key, renumbered(key, state, *numbers))])
        return
    view.drop("records", [key])
    if any(numbers):
        left = State(sequence=numbers[0], field_sequence=numbers[1])
        view.put("states", [(key, pack(key, left, NEVER))])
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


def _unpacked(block: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """The products of a block: key, sealed state, sealed record; b"" for what did not exist."""
    at = 0
    while at < len(block):
        ends = [at + _SIZES.size]
        for size in _SIZES.unpack_from(block, at):
            ends.append(ends[-1] + size)
        key, state, record = (block[a:b] for a, b in itertools.pairwise(ends))
        yield key, state, record
        at = ends[-1]
