"""The lake's product store: opening, compacting, migrating and resharding it, and backing it up."""

import contextlib
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mmprod.datasets.embeddings import numbering
from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer
from mmprod.datasets.store.layout import FORMAT, layout
from mmprod.datasets.store.migrate import migrate
from mmprod.datasets.store.reshard import reshard
from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.outcome import Progress, no_progress
from mmprod.storage.errors import StateError
from mmprod.storage.faults import fault
from mmprod.storage.files import make_folder, sync_file

ROWS_A_SHARD = 500_000
"""Rows of the first table for each shard of a new store, with `store.shards` "auto"."""

MOST_SHARDS = 64
"""Of a new store, with `store.shards` "auto"."""


def open_store(lake: Lake, config: Config, read_only: bool = True, table: Path | None = None) -> Store:
    """Open the lake's product store; opening for writing creates it if there is none.

    `table`: the product table that a new store is for; with `store.shards` "auto" its rows, if they are known
    without reading them, determine the number of shards. Raises: StateError as `Store.open` does; InputError
    when `table` can't be used.
    """
    for exchange in (_beside(lake), _formats(lake), *_resharding(lake)):
        _finish_exchange(lake, *exchange)
    if not read_only and lake.store.exists():
        for left in (_beside(lake)[1], *_resharding(lake)[0]):  # by a killed compaction or resharding
            shutil.rmtree(left, ignore_errors=True)
    return Store.open(lake.store, None if read_only else _shards(lake, config, table), read_only)


def _shards(lake: Lake, config: Config, table: Path | None) -> int | None:
    """The number of shards that the store must have, or gets if it is new; None: any."""
    if config.store.shards != "auto":
        return config.store.shards
    if table is None or (lake.store / "store.json").exists():
        return None
    from mmprod.datasets.tables.table import open_table  # with all readers of tables, rarely needed

    rows = open_table(table, config.table_spec).rows or 0
    return min(max(rows // ROWS_A_SHARD, 1), MOST_SHARDS)


def compact_store(lake: Lake, config: Config) -> tuple[int, int]:
    """Replace the store by a copy without free pages and unused pictures; returns bytes before and after.

    The caller holds the lake's lock. The copy is complete on disk before the live store is moved aside; if
    this process dies in between, `open_store` puts the copy in place. Processes that have the store open
    continue reading the old one until they reopen it. Positions of consumers stay valid. Raises: StateError
    if there is no store, or not enough disk space for the copy.
    """
    open_store(lake, config).close()  # raises if there is no store; opening for writing would create one
    new, old = _beside(lake)
    for left in (new, *lake.root.glob(f".{new.name}.*")):  # left by killed compactions
        shutil.rmtree(left, ignore_errors=True)
    with open_store(lake, config, read_only=False) as store:
        before = _disk_bytes(lake.store)
        store.compact(new)
        lake.store.rename(old)
        fault("store.exchange")
        _finish_exchange(lake, new, old)
    shutil.rmtree(old)
    return before, _disk_bytes(lake.store)


def migrate_store(lake: Lake, config: Config, on_progress: Callable[[int], None]) -> tuple[int, Path | None]:
    """Replace a store of the previous format by one of the present format, and keep the old one beside it.

    The caller holds the lake's lock. The new store is complete on disk, verified and compared product by
    product before the two are exchanged. Returns the number of products and the old store's new place.
    A store of the present format is left alone: then None is returned instead of a place.
    Raises: StateError as `migrate` does.
    """
    new, old = _formats(lake)
    _finish_exchange(lake, new, old)
    if layout(lake.store)[0] == FORMAT:
        return 0, None
    if old.exists():
        raise StateError(f"{old} is the store before an earlier migration; remove it if that one was right")
    for left in (new, *lake.root.glob(f".{new.name}.*")):  # left by killed migrations
        shutil.rmtree(left, ignore_errors=True)
    count = migrate(lake.store, new, config.store.volatile, on_progress)
    lake.store.rename(old)
    fault("store.exchange")
    _finish_exchange(lake, new, old)
    return count, old


class Resharded(NamedTuple):
    """`products` moved from so many shards; `again`: embedding tables that have to look at all of them."""

    products: int
    before: int
    kept: Path | None
    again: list[Path]


def reshard_store(
    lake: Lake, config: Config, shards: int, progress: Progress = no_progress, keep: bool = False
) -> Resharded:
    """Replace the store by one with `shards` shards; remove the old one, or `keep` it beside the new one.

    The caller holds the lake's lock. The new store is complete on disk, verified and compared product by
    product before the two are exchanged; if this process dies in between, `open_store` completes that.
    Embedding tables that were up to date still are; others look at all products again, but encode only what
    has changed. Raises: StateError and InputError as `reshard` does, before anything is changed.
    """
    new, old = _resharding(lake)[keep]
    with open_store(lake, config) as store:
        stats = store.stats()
        _follow(lake, store)  # if an earlier resharding was killed
    if keep and old.exists():
        raise StateError(f"{old} is the store before an earlier resharding; remove it if that one was right")
    for left in (*_resharding(lake)[0], *lake.root.glob(f".{new.name}.*")):  # left by killed ones
        shutil.rmtree(left, ignore_errors=True)
    advance = progress("reshard", 2 * (stats.live + stats.removed))
    count = reshard(lake.store, new, shards, advance)
    lake.store.rename(old)
    fault("store.exchange")
    _finish_exchange(lake, new, old)
    with open_store(lake, config) as store:
        again = _follow(lake, store)
    if not keep:
        shutil.rmtree(old)
    return Resharded(count, stats.shards, old if keep else None, again)


def _follow(lake: Lake, store: Store) -> list[Path]:
    """Carry the embedding tables' positions over; returns the tables that have to look at all products."""
    again = []
    for root in lake.embedding_roots():
        pointer = read_pointer(root)
        table = EmbeddingTable(root, pointer.encoder, pointer.width, len(pointer.position))
        if numbering.follow(store, table):
            again.append(root)
    return again


def backup_store(lake: Lake, config: Config, folder: Path, keep: int) -> tuple[Path, list[Path]]:
    """Copy the store into `folder` under the next number, verify the copy, and keep the newest `keep` copies.

    Returns the copy and the removed ones. The caller holds the lake's lock. Raises: StateError if there is
    not enough disk space, or if the copy is damaged; a damaged copy is deleted and the older ones stay.
    """
    make_folder(folder)
    for left in folder.glob(".store-*"):  # left by killed backups
        shutil.rmtree(left)
    before = sorted((path for path in folder.glob("store-*") if path.is_dir()), key=_number)
    number = _number(before[-1])[0] + 1 if before else 1
    copy = folder / f"store-{number:06d}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with open_store(lake, config, read_only=False) as store:
        store.compact(copy)
    with Store.open(copy, read_only=True) as store:
        problems = list(store.verify())
    if problems:
        shutil.rmtree(copy)
        raise StateError(f"the copy is damaged and was deleted: {'; '.join(problems)}; see `mmprod verify`")
    old = before[: max(0, len(before) + 1 - keep)]
    for path in old:
        shutil.rmtree(path)
    return copy, old


def _number(backup: Path) -> tuple[int, str]:
    """Sort key of backups, independent of clocks; backups of earlier versions have a time but no number."""
    found = re.fullmatch(r"store-(\d{6,7})-.*", backup.name)
    return int(found[1]) if found else 0, backup.name


def _beside(lake: Lake) -> tuple[Path, Path]:
    return lake.root / "store.new", lake.root / "store.old"


def _formats(lake: Lake) -> tuple[Path, Path]:
    """The migrated store before it is put in place, and the old one after."""
    return lake.root / "store.migrated", lake.root / "store.format-1"


def _resharding(lake: Lake) -> tuple[tuple[Path, Path], tuple[Path, Path]]:
    """The resharded store before it is put in place, and the old one after, to be removed or to be kept."""
    new = lake.root / "store.resharded"
    return (new, lake.root / "store.outdated"), (new, lake.root / "store.before-reshard")


def _finish_exchange(lake: Lake, new: Path, old: Path) -> None:
    """If the store was moved to `old`, put `new` in its place; safe to call from several processes."""
    if lake.store.exists() or not (new.exists() and old.exists()):
        return
    with contextlib.suppress(FileNotFoundError):  # another process did it first
        new.rename(lake.store)
    sync_file(lake.root)


def _disk_bytes(store: Path) -> int:
    """Disk space of the data; the files' lengths are larger because they are sparse."""
    return sum(file.stat().st_blocks * 512 for file in store.glob("shard-*/data.mdb"))
