"""Product table → store, and the list of what the day changed."""

import contextlib
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from mmprod.datasets.ingest.counts import DayCounts
from mmprod.datasets.schemas import CHANGE
from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.refused import explained
from mmprod.stages.outcome import Advance, Outcome, Watch, silent, timed
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.faults import fault
from mmprod.storage.files import make_folder, sync_file

if TYPE_CHECKING:
    from mmprod.datasets.ingest.delivery import DeliveredTable

log = logging.getLogger(__name__)
_FAR_BEHIND = 31  # days
CHANGES_FILE = "changes.parquet"


def open_store(lake: Lake, config: Config, read_only: bool = True) -> Store:
    """The lake's product store; a writer makes it if there is none."""
    _finish_exchange(lake)
    if not read_only and lake.store.exists():
        shutil.rmtree(_beside(lake)[1], ignore_errors=True)  # of a compaction that died
    return Store.open(lake.store, None if read_only else config.store.shards, read_only)


def ingest_table(
    lake: Lake,
    config: Config,
    store: Store,
    path: Path,
    day: date,
    approve_removals: bool = False,
    watch: Watch = silent,
    *,
    approve_day: bool = False,
) -> Outcome:
    """Merge a day's product table into the store and publish the list of what it changed.

    The list is kept in the store until it is published, so a run after a crash publishes what the crashed
    one left behind. A day that changes nothing and refuses nothing publishes nothing; nor does a replay.
    Raises: InputError, before anything changes, for a table that can't be used or that removes too much
    (with the reasons of its rows, see `refused.explained`), and for a day ahead of the clock.
    """
    from mmprod.datasets.ingest.ingest import TableRefused
    from mmprod.datasets.tables.table import open_table

    with timed("ingest") as outcome:
        check_day(store, day, approve_day, config.store.days_ahead)
        table = open_table(path, config.table_spec)
        _forget_published(lake, store, day)
        try:
            counts = _ingest(config, store, table, day, approve_removals, watch("ingest", table.rows))
        except TableRefused as error:
            raise explained(lake, table, day, error) from error
        if logs := store.logs_of(day):
            inputs = {"day": day.isoformat(), "table": table.fingerprint, "snapshot": config.table.snapshot}
            generation = _publish(lake, store, day, inputs | {"logs": sorted(logs)})
            artifacts.switch(lake.changes, generation)
            store.forget_changes(day)
            outcome.made[str(lake.changes)] = generation
        outcome.made[str(lake.store)] = ",".join(map(str, store.head()))
        _tell(outcome, counts)
    return outcome


def check_day(store: Store, day: date, approved: bool, ahead: int) -> None:
    """Raise InputError for a day more than `ahead` days after the clock's that is not approved.

    From then on every real day would be stale. A day long before the store's latest full day is warned of.
    """
    distance = (day - datetime.now(UTC).date()).days
    if distance > ahead and not approved:
        raise InputError(
            f"{day} lies {distance} days ahead, store.days_ahead allows {ahead}: once it is in the store, "
            "earlier days change nothing any more. Mistyped? If not, pass --approve-day"
        )
    latest = store.stats().latest_full_day
    if latest and (behind := (date.fromisoformat(latest) - day).days) > _FAR_BEHIND:
        log.warning(
            "%s lies %d days before the latest full day, %s: it changes only what no later day has told",
            *(day, behind, latest),
        )


def _forget_published(lake: Lake, store: Store, day: date) -> None:
    """Finish what a run left that died between publishing the day's changes and forgetting them."""
    logs = store.logs_of(day)
    names = artifacts.generations(lake.changes) if logs else []
    for name in reversed(names):
        if logs <= set(artifacts.Manifest.read(lake.changes / name).inputs["logs"]):
            if name == names[-1]:
                artifacts.switch(lake.changes, name)
            store.forget_changes(day)
            return


def _publish(lake: Lake, store: Store, day: date, inputs: dict[str, object]) -> str:
    """Write the day's changes as a generation; its name."""
    with artifacts.publishing(lake.changes, "change", inputs, {}) as draft:
        kinds: Counter[str] = Counter()
        draft.counts["rows"] = parquet.write(
            draft.path / CHANGES_FILE, _counted(store.changes_of(day), kinds), CHANGE
        )
        draft.counts |= kinds
    return draft.generation


def _counted(batches: Iterator[pa.RecordBatch], kinds: Counter[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        kinds.update(batch.column("kind").to_pylist())
        yield batch


def _ingest(
    config: Config, store: Store, table: "DeliveredTable", day: date, approve_removals: bool, advance: Advance
) -> DayCounts:
    # With HTTP, which who only opens the store doesn't need.
    from mmprod.datasets.images.fetch import USER_AGENT, Fetcher
    from mmprod.datasets.images.picture_source import PictureSource
    from mmprod.datasets.ingest.ingest import ingest_day

    images = config.images
    fetcher = Fetcher(
        allow_private=images.allow_private_hosts,
        user_agent=images.user_agent or USER_AGENT,
        until=time.monotonic() + images.fetch_seconds,
    )
    done = 0

    def on_progress(rows: int) -> None:
        nonlocal done
        advance(rows - done)
        done = rows

    return ingest_day(
        store,
        table,
        day,
        full=config.table.snapshot == "full",
        pictures=PictureSource(images.root, fetcher),
        max_removed_share=config.store.max_removed_share,
        approve_removals=approve_removals,
        batch_rows=config.store.batch_rows,
        on_progress=on_progress,
    )


def _tell(outcome: Outcome, counts: DayCounts) -> None:
    outcome.rows, outcome.reused, outcome.refused = counts.read, counts.unchanged, counts.quarantined
    kinds = ("added", "picture", "title", "fields", "removed", "relisted", "stale", "pictures_rejected")
    beside = ("merged", "figures_unread", "ids_plain")
    outcome.detail = {kind: getattr(counts, kind) for kind in (*kinds, *beside)}
    outcome.changed = sum(getattr(counts, kind) for kind in kinds[:6])


def compact_store(lake: Lake, config: Config) -> tuple[int, int]:
    """Replace the store by a copy without free pages and unused pictures; bytes on disk before and after.

    The caller holds the lake's lock. The copy is complete on disk before the live store is moved aside, and
    `open_store` puts it in place should this process die in between. Whoever has the store open goes on
    reading the old one until it is opened again. Positions of consumers stay valid.
    Raises: StateError when there is no store, or the disk has no room for the copy.
    """
    open_store(lake, config).close()  # raises if there is none, where a writer would make one
    new, old = _beside(lake)
    for left in (new, *lake.root.glob(f".{new.name}.*")):  # by compactions that died
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
    """Copy the store into `folder` under the next number, read the copy back, and keep the newest `keep`.

    The copy and those that were removed. The caller holds the lake's lock. Raises: StateError when the disk
    has no room for it, or the copy is not sound: it is dropped, and the older ones stay.
    """
    make_folder(folder)
    for left in folder.glob(".store-*"):  # by backups that died
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
        raise StateError(f"the copy is not sound and was dropped: {'; '.join(problems)}; see `mmprod verify`")
    old = before[: max(0, len(before) + 1 - keep)]
    for path in old:
        shutil.rmtree(path)
    return copy, old


def _number(backup: Path) -> tuple[int, str]:
    """What orders backups, however the clock was set; those of earlier versions had only a time."""
    found = re.fullmatch(r"store-(\d{6,7})-.*", backup.name)
    return int(found[1]) if found else 0, backup.name


def _beside(lake: Lake) -> tuple[Path, Path]:
    return lake.root / "store.new", lake.root / "store.old"


def _finish_exchange(lake: Lake) -> None:
    """Put the compacted copy in the place of a store that was moved aside; anyone may, and only one can."""
    new, old = _beside(lake)
    if lake.store.exists() or not (new.exists() and old.exists()):
        return
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        new.rename(lake.store)
    sync_file(lake.root)


def _disk_bytes(store: Path) -> int:
    """Room the data takes on disk; the files look larger, for they are sparse."""
    return sum(file.stat().st_blocks * 512 for file in store.glob("shard-*/data.mdb"))
