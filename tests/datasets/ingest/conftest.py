"""A store, and ingest of rows into it."""

import dataclasses

import pyarrow as pa
import pytest

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.schemas import CHANGE
from mmprod.datasets.store.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def ingest(store, day_tables):
    """Ingest rows; gives the counts that aren't 0, and (id, kind, reason, source) of the change rows."""

    def run(day, rows, full=True, pictures=None, **options):
        counts = ingest_day(
            store, day_tables.MemoryTable(rows), day, full=full,
            pictures=pictures or day_tables.MemoryPictures(), **options,
        )  # fmt: skip
        told = pa.Table.from_batches(store.changes_of(day), CHANGE).to_pylist()
        store.forget_changes(day)
        assert {row["day"] for row in told} <= {day}
        outcomes = {k: v for k, v in dataclasses.asdict(counts).items() if v and k != "read"}
        return outcomes, [(r["product_id"], r["kind"], r["reason"], r["source"]) for r in told]

    return run
