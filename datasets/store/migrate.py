"""A store of format 1 as one of format 2: sales and volatile attributes move from the records to the states.

Format 1 kept sales in the record and had one sequence for all changes. Positions of consumers stay valid: the
products keep their sequence numbers, which become those of the lasting fields too. What the latest days
overwrote (`undo`) is left behind, so days before the migration can't be undone.
"""

import os
import shutil
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import orjson

from mmprod.datasets.identity import canonical_fields, content_hash, day_number
from mmprod.datasets.store import record
from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.store.layout import FORMAT, layout, write_layout
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.state import ABSENT, LAYOUT, NEVER, unpack
from mmprod.datasets.store.store import Store
from mmprod.datasets.store.view import SEQUENCES, Slice, View
from mmprod.datasets.volatile import split
from mmprod.storage import locks
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder, sync_file, sync_tree

_OLD = struct.Struct("<16s16s16sIqiiiiBQ")
_OLD_DATABASES = ("states", "records", "pictures", "sequence", "meta", "changes")
_AS_THEY_ARE = ("pictures", "meta", "changes")

Progress = Callable[[int], None]


def migrate(path: Path, target: Path, volatile: Collection[str], on_progress: Progress | None = None) -> int:
    """Write the store at `path`, of format 1, to the new folder `target` in format 2; returns its products.

    `volatile`: names of the volatile attributes. The copy is complete, synced and compared with the original
    product by product before `target` appears; `path` is left as it is. `on_progress` is called with numbers
    of products: each is counted when it is written, and again when it is compared.
    Raises: StateError when `path` is not of format 1, is damaged, or another process writes to it;
    InputError when `target` exists.
    """
    found, shards = layout(path)
    if found != 1:
        raise StateError(f"{path} is of format {found}; only format 1 is migrated, to {FORMAT}")
    if target.exists():
        raise InputError(f"{target} exists; remove it or name another folder")
    try:
        lock = locks.hold_as_writer(path / "LOCK")
    except locks.HeldError as error:
        raise StateError(f"{path}: another run is writing (pid {error.holder}); wait for it") from error
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    tell = on_progress or (lambda count: None)
    try:
        make_folder(aside)
        count = sum(_copy(path, aside, number, volatile, tell) for number in range(shards))
        write_layout(aside, shards)
        _compare(path, aside, shards, tell)
        sync_tree(aside)
        aside.rename(target)
    finally:
        os.close(lock)
        shutil.rmtree(aside, ignore_errors=True)
    sync_file(target.parent)
    return count


def _old_shard(path: Path, number: int) -> Shard:
    return Shard(path / f"shard-{number:03d}", True, _OLD_DATABASES)


def _copy(path: Path, aside: Path, number: int, volatile: Collection[str], tell: Progress) -> int:
    """Write one shard in the new format; returns the number of its products."""
    count = 0
    with (
        closing(_old_shard(path, number)) as old,
        closing(Shard(aside / f"shard-{number:03d}", False)) as new,
    ):
        for name in _AS_THEY_ARE:
            for entries, _ in old.chunks(name):
                new.transact(partial(_put, items={name: entries}))
        for entries, _ in old.chunks("sequence"):
            new.transact(partial(_put, items=dict.fromkeys(SEQUENCES, entries)))
        for entries, _ in old.chunks("states"):
            states, records = _converted(old, entries, volatile)
            new.transact(partial(_put, items={"states": states, "records": records}))
            count += len(records)
            tell(len(records))
    return count


def _put(view: View, items: dict[str, Slice]) -> None:
    for name, entries in items.items():
        view.put(name, entries, behind=True)


def _converted(old: Shard, entries: Slice, volatile: Collection[str]) -> tuple[Slice, Slice]:
    """States and records of some products in the new format, sealed."""
    bodies = old.whole("records", [key for key, state in _known(entries)])
    states, records = [], []
    for key, value in entries:
        (*head, fields_hash, fault, updated_at, content, first, last, left, flags, sequence) = _OLD.unpack(
            unseal("states", key, value)
        )
        sales, attributes = ABSENT, b""
        if key in bodies:
            title, reason, fields = record.parts(bodies[key])
            found, sales, attributes = _fields(fields, volatile)
            fields_hash = content_hash(found)
            records.append((key, seal(key, record.body(title, reason, found))))
        days = (content, first, last, left)
        body = LAYOUT.pack(
            *head, fields_hash, fault, updated_at, *days, flags, sales, 0, 0, sequence, sequence
        )
        states.append((key, seal(key, body + attributes)))
    return states, records


def _known(entries: Slice) -> Iterator[tuple[bytes, bytes]]:
    """The entries of products that were delivered."""
    for key, value in entries:
        if _OLD.unpack(unseal("states", key, value))[5] != NEVER:
            yield key, value


def _fields(old: bytes, volatile: Collection[str]) -> tuple[bytes, int, bytes]:
    """The lasting fields, sales and volatile attributes from the fields of format 1."""
    levels, spu_id, brand, sales, pairs, image_path, image_url, *further = orjson.loads(old)
    lasting, attributes = split(dict(pairs), volatile)
    fields = canonical_fields(levels, spu_id, brand, lasting, image_path, image_url, *further)
    return fields, ABSENT if sales is None else sales, attributes


def _compare(path: Path, aside: Path, shards: int, tell: Progress) -> None:
    """Raise StateError unless both stores hold the same products, and the new one is sound."""
    with Store.open(aside, read_only=True) as store:
        if problems := store.verify():
            raise StateError(f"{path} could not be migrated: {'; '.join(problems[:5])}")
        records = store.iterate(live_only=False)
        for number in range(shards):
            with closing(_old_shard(path, number)) as old:
                for entries, full_day in old.chunks("states"):
                    for wanted in _old_products(old, entries, full_day):
                        if (found := next(records, None)) is None or _facts(found) != wanted:
                            raise StateError(f"{path} could not be migrated: {wanted[0]} differs in the copy")
                    tell(len(entries))
        if (left := next(records, None)) is not None:
            raise StateError(f"{path} could not be migrated: {left.product_id} is only in the copy")


def _old_products(old: Shard, entries: Slice, full_day: int) -> Iterator[Sequence[object]]:
    """What a store of format 1 knows of each product, as `_facts`, read by its own rules."""
    known = list(_known(entries))
    bodies = old.whole("records", [key for key, _ in known])
    for key, value in known:
        fixed = _OLD.unpack(unseal("states", key, value))
        body = LAYOUT.pack(*fixed[:-1], ABSENT, 0, 0, fixed[-1], 0)
        state = unpack(key, seal(key, body), full_day)
        title, reason, fields = record.parts(bodies[key])
        levels, spu_id, brand, sales, pairs, image_path, image_url, *further = orjson.loads(fields)
        pictures, categories = further or ((), ())
        yield (
            *(key.decode(), title, tuple(levels), spu_id, brand, sales, dict(pairs), image_path, image_url),
            *(reason, tuple(pictures), tuple(categories), state.content[:2], state.live),
            *(record.moment(state.updated_at), state.first_day, state.seen_day, state.content_day),
        )


def _facts(found: Record) -> Sequence[object]:
    days = (found.first_day, found.seen_day, found.content_day)
    return (
        *(found.product_id, found.title, found.category, found.spu_id, found.brand, found.sales),
        *(found.attributes, found.image_path, found.image_url, found.image_reason),
        *(found.pictures, found.categories, (found.image_hash, found.text_hash), found.live),
        *(found.updated_at, *map(day_number, days)),
    )
