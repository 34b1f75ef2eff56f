"""Copies of a store: compacted, exported as a product table, or reduced to a hash for comparison."""

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import lmdb
import pyarrow.parquet as pq

from mmprod.datasets.identity import EMPTY
from mmprod.datasets.schemas import PRODUCT, rows_to_batch
from mmprod.datasets.store import undo
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.state import unpack
from mmprod.datasets.store.view import View
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder, sync_file, sync_tree
from mmprod.storage.room import NoRoom, require, told

EXPORT_ROWS = 1_000
"""Rows of an export that are held in memory at once, with their pictures."""

_MODULUS = 1 << 256


def shard_hash(shard: Shard, days: bool) -> int:
    """A hash of all products of a shard, independent of the order in which they were written.

    With `days`: over all products and all their days; without: over content and `updated_at` of the live
    ones. It is the sum of one SHA-256 a product, modulo 2**256.
    """
    total = 0
    for entries, full_day in shard.chunks("states"):
        states = {key: unpack(key, value, full_day) for key, value in entries}
        wanted = [key for key, state in states.items() if (state.known if days else state.live)]
        bodies = shard.whole("records", wanted)
        for key in wanted:
            state = states[key]
            told: tuple[object, ...] = (*state.content[:3], state.updated_at, state.volatile)
            if days:
                gone = None if state.present else state.gone_day
                told = (
                    *state[:5],
                    gone,
                    state.volatile,
                    bodies[key],
                )  # a live product's earlier absences are not part of it
            total += int.from_bytes(hashlib.sha256(repr((key, told)).encode()).digest(), "big")
    return total % _MODULUS


def remove_orphans(shard: Shard) -> int:
    """Remove the pictures that no product of the shard uses and no undo of a day would bring back.

    Returns how many were removed.
    """
    used = undo.images(shard)
    for entries, full_day in shard.chunks("states"):
        used.update(unpack(key, value, full_day).content.image_hash for key, value in entries)
    removed = 0
    for entries, _ in shard.chunks("pictures"):
        orphans = [key for key, _ in entries if key not in used]
        shard.remove("pictures", orphans)
        removed += len(orphans)
    return removed


def pages(view: View) -> int:
    """Used pages of a shard: those of its databases, one for the list of databases, and two meta pages."""
    stats = [view.stat(name) for name in view.databases()]
    return 3 + sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)


def copy_bytes(shards: Iterable[Shard]) -> int:
    """Size of a compacted copy in bytes."""
    return sum(shard.read(pages) * int(shard.environment.stat()["psize"]) for shard in shards)


def compact(path: Path, shards: Sequence[Shard], target: Path) -> None:
    """Copy the store at `path` to the new folder `target`, without free pages and orphaned pictures.

    The copy is written to a temporary folder, synced and renamed. Raises: InputError when `target` exists;
    StateError, before anything is copied, when the disk has too little space; OSError when it fills up
    meanwhile.
    """
    if target.exists():
        raise InputError(f"{target} exists; name a new folder, then exchange the two while nothing runs")
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    for shard in shards:
        remove_orphans(shard)
    require("a copy of the store", copy_bytes(shards), target.parent)
    make_folder(target.parent)
    try:
        for shard in shards:
            folder = aside / shard.folder.name
            folder.mkdir(parents=True)
            _copy(shard, folder)
        shutil.copyfile(path / "store.json", aside / "store.json")
        sync_tree(aside)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync_file(target.parent)


def _copy(shard: Shard, folder: Path) -> None:
    try:
        shard.environment.copy(str(folder), compact=True)
    except lmdb.Error as error:
        raise NoRoom("a copy of the store", folder, str(error)) from error


def export(records: Iterable[Record], picture: Callable[[bytes], bytes | None], path: Path) -> int:
    """Write records as a Parquet table of schema `PRODUCT`, pictures as bytes; returns the number of rows.

    The file is written under a temporary name with page checksums, synced and renamed over `path`.
    """
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with told(path.parent), pq.ParquetWriter(aside, PRODUCT, write_page_checksum=True) as writer:
            rows = (_row(record, picture) for record in records)
            while batch := list(itertools.islice(rows, EXPORT_ROWS)):
                writer.write_batch(rows_to_batch(batch, PRODUCT))
                count += len(batch)
        sync_file(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync_file(path.parent)
    return count


def _row(record: Record, picture: Callable[[bytes], bytes | None]) -> dict[str, object]:
    image = None if record.image_hash == EMPTY else picture(record.image_hash)
    if image is None and record.image_hash != EMPTY:
        raise StateError(f"{record.product_id}: its picture {record.image_hash.hex()} is missing; run verify")
    return {
        "product_id": record.product_id,
        "title": record.title or None,
        "image": image,
        "image_path": record.image_path,
        "image_url": record.image_url,
        "category": list(record.category),
        "spu_id": record.spu_id,
        "brand": record.brand,
        "sales": record.sales,
        "updated_at": record.updated_at,
        "deleted": False,
        "attributes": list(record.attributes.items()),
        "pictures": list(record.pictures),
        "categories": list(record.categories),
    }
