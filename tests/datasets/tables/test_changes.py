"""Change feeds: inserts, updates and deletes with a time; what counts for each product is its newest row."""

import datetime
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.images.picture_source import PictureSource
from mmprod.datasets.ingest.ingest import TableRefused, ingest_day
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.mapping import operations
from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.storage.errors import InputError

FEED = TableSpec(snapshot="changes")
NOON = datetime.datetime(2024, 5, 6, 12, tzinfo=UTC)
MONDAY = datetime.date(2024, 5, 6)


def feed(path: Path, *rows: dict[str, Any], **types: pa.DataType) -> Path:
    """A Parquet file of rows with id, title, op and updated_at; `types` overrides those of columns."""
    kinds = {"product_id": pa.string(), "title": pa.string(), "op": pa.string(), "sales": pa.int64()}
    kinds |= {"updated_at": pa.timestamp("us", "UTC")} | types
    pq.write_table(pa.Table.from_pylist(list(rows), pa.schema(kinds)), path)
    return path


def change(op: str | None, product_id: str = "a", minute: int | None = 0, **fields: Any) -> dict[str, Any]:
    time = None if minute is None else NOON + timedelta(minutes=minute)
    return {"product_id": product_id, "op": op, "updated_at": time, **fields}


def told(
    path: Path, spec: TableSpec = FEED
) -> tuple[list[tuple[str, bool]], list[tuple[str, str | None, str]]]:
    """(id, whether it is removed) of the usable rows, and the others."""
    table = open_table(path, spec)
    batches = list(table.batches(2))
    rows = [row for batch in batches for row in batch.accepted.to_pylist()]
    identities = list(table.identities(2))
    assert [i for batch in identities for i in batch.ids] == [row["product_id"] for row in rows]
    assert all(batch.gone is None for batch in identities)  # a feed removes by its rows only
    return (
        [(row["product_id"], row["deleted"]) for row in rows],
        [tuple(row) for batch in batches for row in batch.refused],
    )


@pytest.mark.parametrize("word", ["d", "D", "delete", "DELETE ", "removed"])
def test_words_that_remove(tmp_path: Path, word: str) -> None:
    assert told(feed(tmp_path / "f.parquet", change(word)))[0] == [("a", True)]


@pytest.mark.parametrize("word", ["c", "r", "u", "I", "Insert", "update", "upsert", "update_postimage"])
def test_words_that_do_not(tmp_path: Path, word: str) -> None:
    assert told(feed(tmp_path / "f.parquet", change(word)))[0] == [("a", False)]


def test_rows_that_can_not_be_placed_are_refused(tmp_path: Path) -> None:
    path = feed(
        tmp_path / "f.parquet",
        change("u", "good", title="t"),
        change("t", "truncated"),
        change(None, "none"),
        change("d", "timeless", None),
        change("d", "tomorrow", 60 * 24 * 366 * 100),
        change("d", "plain"),
    )
    accepted, refused = told(path)
    assert accepted == [("good", False), ("plain", True)]
    assert refused == [
        ("f.parquet:2", "truncated", "operation_unreadable:t"),
        ("f.parquet:3", "none", "operation_unreadable:"),
        ("f.parquet:4", "timeless", "time_missing"),
        ("f.parquet:5", "tomorrow", "time_in_future"),
    ]


def test_times_as_text_and_as_numbers_of_a_named_unit(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(
        "product_id,title,op,updated_at\na,A,u,2024-05-06T12:00:00Z\nb,B,u,soon\n"
        "c,,d,2024-05-06 13:00\nd,D,u,\n"
    )
    accepted, refused = told(tmp_path / "f.csv")
    assert accepted == [("a", False), ("c", True)]
    assert refused == [("f.csv:3", "b", "time_unreadable:soon"), ("f.csv:5", "d", "time_missing")]
    stamp = int(NOON.timestamp())
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        path = tmp_path / f"{unit}.parquet"
        name = f"__source_ts_{unit}"
        spec = TableSpec({"updated_at": name, "title": ""}, snapshot="changes")
        pq.write_table(pa.table({"product_id": ["a"], "op": ["u"], name: [stamp * scale]}), path)
        [batch] = open_table(path, spec).batches()
        assert batch.accepted["updated_at"].to_pylist() == [NOON]
        path.with_suffix(".csv").write_text(f"product_id,op,{name}\na,u,{stamp * scale}\nb,u,{'9' * 30}\n")
        [batch] = open_table(path.with_suffix(".csv"), spec).batches()
        assert batch.accepted["updated_at"].to_pylist() == [NOON]
        assert batch.refused[0].reason.startswith("time_unreadable:999")


def test_own_words_and_a_column_deleted(tmp_path: Path) -> None:
    path = feed(tmp_path / "f.parquet", change("X"), change("Y", "b"), change("u", "c"))
    spec = TableSpec(snapshot="changes", live=operations("op", ["X"], ["Y"]))
    assert told(path, spec)[0] == [("a", True), ("b", False)]
    assert operations(removed=["U"]).values == [word for word in operations().values if word != "u"]
    soft = feed(
        tmp_path / "soft.parquet",
        change("u", deleted=True),
        change("u", "b", deleted=False),
        change("d", "c"),
        deleted=pa.bool_(),
    )
    assert told(soft)[0] == [("a", True), ("b", False), ("c", True)]
    bare = pa.table({"product_id": ["a"], "title": ["t"], "updated_at": [NOON], "deleted": ["yes"]})
    pq.write_table(bare, tmp_path / "bare.parquet")
    assert told(tmp_path / "bare.parquet")[0] == [("a", True)]


@pytest.mark.parametrize(
    ("left_out", "spec", "says"),
    [
        ("updated_at", FEED, "no column updated_at"),
        ("op", FEED, "no column says which rows remove products; name it in table.operation"),
        ("op", TableSpec(snapshot="changes", live=operations("operation")), "no column 'operation'"),
        ("sales", TableSpec(snapshot="changes", rows="first_non_empty"), "table.rows"),
    ],
)
def test_tables_that_are_no_feed(tmp_path: Path, left_out: str, spec: TableSpec, says: str) -> None:
    path = feed(tmp_path / "f.parquet", change("u", title="t"))
    pq.write_table(pq.read_table(path).drop([left_out]), path)
    with pytest.raises(InputError, match=says):
        open_table(path, spec)


def ingest(store: Store, path: Path, spec: TableSpec = FEED, day: datetime.date = MONDAY) -> Any:
    table = open_table(path, spec, NOON + timedelta(days=1))
    return ingest_day(store, table, day, full=False, pictures=PictureSource())


def test_a_feed_changes_only_what_it_names(tmp_path: Path) -> None:
    full = pa.table({"product_id": list("abcd"), "title": [f"title {i}" for i in "abcd"]})
    pq.write_table(full, tmp_path / "full.parquet")
    with Store.open(tmp_path / "store") as store:
        table = open_table(tmp_path / "full.parquet", TableSpec())
        ingest_day(store, table, MONDAY - timedelta(days=1), full=True, pictures=PictureSource())
        path = feed(
            tmp_path / "f.parquet",
            change("u", "a", 5, title="newest"),
            change("u", "a", 1, title="older"),
            change("d", "b"),
            change("c", "e", title="new"),
            change("d", "nobody"),
        )
        counts = ingest(store, path)
        titles = {key: store.get(key).title for key in "ace"}
        assert titles == {"a": "newest", "c": "title c", "e": "new"}
        assert [store.get(key) is None or not store.get(key).live for key in "bd"] == [True, False]
        assert (counts.added, counts.title, counts.removed_by_row, counts.stale) == (1, 1, 1, 1)
        assert ingest(store, path).read == 5  # again
        only_deletes = feed(tmp_path / "g.parquet", change("d", "a", 9), change("d", "c", 9))
        assert ingest(store, only_deletes).removed_by_row == 2
        with pytest.raises(TableRefused):
            ingest(store, feed(tmp_path / "h.parquet", change("?", "a")))


CHANGE = st.tuples(st.sampled_from("abc"), st.sampled_from("cud"), st.integers(0, 3), st.sampled_from("xyz"))


@settings(max_examples=20, deadline=None)  # each opens a store
@given(st.lists(CHANGE, min_size=1, max_size=12), st.integers(1, 5))
def test_the_newest_row_of_each_product_counts_and_of_equal_times_the_last(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, int, str]], batch_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("feed")
    rows = [change(op, key, time, title=title) for key, op, time, title in changes]
    newest: dict[str, tuple[int, str | None]] = {}
    for key, op, time, title in changes:
        if key not in newest or time >= newest[key][0]:
            newest[key] = time, None if op == "d" else title
    with Store.open(folder / "store") as store:
        table = open_table(feed(folder / "f.parquet", *rows), FEED, NOON + timedelta(days=1))
        counts = ingest_day(store, table, MONDAY, full=False, pictures=PictureSource(), batch_rows=batch_rows)
        assert counts.read == len(changes)
        for key, (_, title) in newest.items():
            found = store.get(key)
            assert (found.title if found and found.live else None) == title
