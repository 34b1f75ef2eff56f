"""Product table → store, and the list of what the day changed."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from mmprod import artifacts
from mmprod.config import Config
from mmprod.datasets.counts import DayCounts
from mmprod.datasets.fetch import Fetcher
from mmprod.datasets.ingest import ingest_day
from mmprod.datasets.picture_source import PictureSource
from mmprod.datasets.schemas import CHANGE
from mmprod.datasets.store import Store
from mmprod.datasets.table import ProductTable, open_table
from mmprod.lake import Lake
from mmprod.stages.outcome import Advance, Outcome, Watch, silent, timed

CHANGES_FILE = "changes.parquet"


def open_store(lake: Lake, config: Config, read_only: bool = True) -> Store:
    """The lake's product store; a writer makes it if there is none."""
    return Store.open(lake.store, None if read_only else config.store.shards, read_only)


def ingest_table(
    lake: Lake,
    config: Config,
    store: Store,
    path: Path,
    day: date,
    approve_removals: bool = False,
    watch: Watch = silent,
) -> Outcome:
    """Merge a day's product table into the store and publish the list of what it changed.

    A day that changes nothing and refuses nothing publishes nothing; nor does a table taken in before.
    Raises: InputError, before anything changes, for a table that can't be used or that removes too much.
    """
    with timed("ingest") as outcome:
        table = open_table(path, config.table_spec)
        inputs = {"day": day.isoformat(), "table": table.fingerprint, "snapshot": config.table.snapshot}
        with artifacts.publishing(lake.changes, "change", inputs, {}) as draft:
            with pq.ParquetWriter(
                draft.path / CHANGES_FILE, CHANGE, compression="zstd", write_page_checksum=True
            ) as changes:
                advance = watch("ingest", table.rows)
                counts = _ingest(config, store, table, day, approve_removals, changes.write_batch, advance)
            draft.counts |= vars(counts)
        artifacts.switch(lake.changes, draft.generation)
        _tell(outcome, counts)
    return outcome


def _ingest(
    config: Config,
    store: Store,
    table: ProductTable,
    day: date,
    approve_removals: bool,
    on_change: Callable[[object], None],
    advance: Advance,
) -> DayCounts:
    images = config.images
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
        pictures=PictureSource(images.root, Fetcher(allow_private=images.allow_private_hosts)),
        on_change=on_change,
        max_removed_share=config.store.max_removed_share,
        approve_removals=approve_removals,
        batch_rows=config.store.batch_rows,
        on_progress=on_progress,
    )


def _tell(outcome: Outcome, counts: DayCounts) -> None:
    outcome.rows, outcome.reused, outcome.refused = counts.read, counts.unchanged, counts.quarantined
    kinds = ("added", "picture", "title", "fields", "removed", "relisted", "stale", "pictures_rejected")
    outcome.detail = {kind: getattr(counts, kind) for kind in kinds}
    outcome.changed = sum(getattr(counts, kind) for kind in kinds[:6])


def compact_store(lake: Lake, config: Config) -> tuple[int, int]:
    """Replace the store by a copy without free pages and unused pictures; bytes before and after."""
    raise NotImplementedError
