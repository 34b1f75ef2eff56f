"""Product table → store, and the list of the day's changes."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.images.fetch import USER_AGENT, Fetcher
from mmprod.datasets.images.picture_source import PictureSource
from mmprod.datasets.ingest.counts import DayCounts
from mmprod.datasets.ingest.delivery import DeliveredTable
from mmprod.datasets.ingest.ingest import TableRefused, ingest_day
from mmprod.datasets.schemas import CHANGE
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.table import open_table
from mmprod.datasets.threads import threads
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.refused import explained
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError

log = logging.getLogger(__name__)
_FAR_BEHIND = 31  # days
CHANGES_FILE = "changes.parquet"


def ingest_table(
    lake: Lake,
    config: Config,
    store: Store,
    path: Path,
    day: date,
    approve_removals: bool = False,
    progress: Progress = no_progress,
    *,
    approve_day: bool = False,
) -> Outcome:
    """Merge a day's product table into the store and publish the list of its changes.

    The list is kept in the store until it is published, so after a crash the next run publishes it. A day
    that changes nothing and refuses nothing publishes nothing, and neither does a repeated day. Raises:
    InputError, before anything is changed, for an unusable table or one that removes too many products (with
    the reasons of its unusable rows, see `refused.explained`), and for a day too far ahead of the clock.
    """
    with timed("ingest") as outcome:
        check_day(store, day, approve_day, config.store.days_ahead)
        table = open_table(path, config.table_spec)
        _forget_published(lake, store, day)
        try:
            counts = _ingest(config, store, table, day, approve_removals, progress("ingest", table.rows))
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
    """Raise InputError for a day more than `ahead` days after today, unless `approved`.

    After such a day the rows of every real day would be stale. A day long before the store's latest full day
    causes a warning only.
    """
    distance = (day - datetime.now(UTC).date()).days
    if distance > ahead and not approved:
        raise InputError(
            f"{day} lies {distance} days ahead, store.days_ahead allows {ahead}: once it is in the store, "
            "earlier days no longer change anything. If it is not mistyped, pass --approve-day"
        )
    latest = store.stats().latest_full_day
    if latest and (behind := (date.fromisoformat(latest) - day).days) > _FAR_BEHIND:
        log.warning(
            "%s lies %d days before the latest full day, %s: it changes only what no later day has changed",
            *(day, behind, latest),
        )


def _forget_published(lake: Lake, store: Store, day: date) -> None:
    """Finish a killed run: if the day's changes are published already, delete them from the store."""
    logs = store.logs_of(day)
    names = artifacts.generations(lake.changes) if logs else []
    for name in reversed(names):
        if logs <= set(artifacts.Manifest.read(lake.changes / name).inputs["logs"]):
            if name == names[-1]:
                artifacts.switch(lake.changes, name)
            store.forget_changes(day)
            return


def _publish(lake: Lake, store: Store, day: date, inputs: dict[str, object]) -> str:
    """Publish the day's changes as a generation; returns its name."""
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
    config: Config, store: Store, table: DeliveredTable, day: date, approve_removals: bool, advance: Advance
) -> DayCounts:
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
        volatile=config.store.volatile,
        processes=threads(),
        on_progress=on_progress,
    )


def _tell(outcome: Outcome, counts: DayCounts) -> None:
    outcome.rows, outcome.reused, outcome.refused = counts.read, counts.unchanged, counts.quarantined
    kinds = ("added", "picture", "title", "fields", "removed", "relisted", "stale", "pictures_rejected")
    beside = ("volatile", "merged", "figures_unread", "ids_plain")
    outcome.detail = {kind: getattr(counts, kind) for kind in (*kinds, *beside)}
    outcome.changed = sum(getattr(counts, kind) for kind in kinds[:6])
