"""The lake's product store: opening it, compacting it, backing it up."""

import contextlib
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.storage.errors import StateError
from mmprod.storage.faults import fault
from mmprod.storage.files import make_folder, sync_file


def open_store(lake: Lake, config: Config, read_only: bool = True) -> Store:
    """Open the lake's product store; opening for writing creates it if there is none."""
    _finish_exchange(lake)
    if not read_only and lake.store.exists():
        shutil.rmtree(_beside(lake)[1], ignore_errors=True)  # left by a killed compaction
    return Store.open(lake.store, None if read_only else config.store.shards, read_only)


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
        _finish_exchange(lake)
    shutil.rmtree(old)
    return before, _disk_bytes(lake.store)


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


def _finish_exchange(lake: Lake) -> None:
    """If a store was moved aside, put its compacted copy in place; safe to call from several processes."""
    new, old = _beside(lake)
    if lake.store.exists() or not (new.exists() and old.exists()):
        return
    with contextlib.suppress(FileNotFoundError):  # another process did it first
        new.rename(lake.store)
    sync_file(lake.root)


def _disk_bytes(store: Path) -> int:
    """Disk space of the data; the files' lengths are larger because they are sparse."""
    return sum(file.stat().st_blocks * 512 for file in store.glob("shard-*/data.mdb"))
