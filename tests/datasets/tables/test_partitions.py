"""Folders of partitions, and reading ahead: the rows, their order and the messages are those of one file."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.tables.columnar import ahead
from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.storage.errors import InputError

PLAIN = TableSpec()


def part(path: Path, *ids: str, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"product_id": ids, "title": [f"title {i}" for i in ids], **columns}), path)
    return path


def rows(path: Path, spec: TableSpec = PLAIN, batch_rows: int = 10_000) -> list[dict[str, object]]:
    table = open_table(path, spec)
    found = [row for batch in table.batches(batch_rows) for row in batch.accepted.to_pylist()]
    ids = [name for batch in table.identities(batch_rows) for name in batch.ids]
    assert ids == [row["product_id"] for row in found]
    assert table.rows == len(found)
    return found


def test_folders_give_columns(tmp_path: Path) -> None:
    part(tmp_path / "dt=2025-03-02" / "shop=a%20b" / "part-0.parquet", "3", "4")
    part(tmp_path / "dt=2025-03-01" / "shop=__HIVE_DEFAULT_PARTITION__" / "part-0.parquet", "1")
    part(tmp_path / "dt=2025-03-01" / "shop=b" / "part-1.parquet", "2")
    (tmp_path / "_SUCCESS").touch()
    spec = TableSpec({"updated_at": "dt", "brand": "shop"})
    found = rows(tmp_path, spec, 1)
    assert [(r["product_id"], str(r["updated_at"])[:10], r["brand"]) for r in found] == [
        ("1", "2025-03-01", None),
        ("2", "2025-03-01", "b"),
        ("3", "2025-03-02", "a b"),
        ("4", "2025-03-02", "a b"),
    ]
    sources = [s for batch in open_table(tmp_path, spec).batches() for s in batch.sources]
    assert sources[1:3] == [
        "dt=2025-03-01/shop=b/part-1.parquet:1",
        "dt=2025-03-02/shop=a%20b/part-0.parquet:1",
    ]


def test_even_the_id_may_be_a_folder_and_a_column_of_the_file_comes_first(tmp_path: Path) -> None:
    pq_file = tmp_path / "product_id=007" / "brand=folder" / "a.parquet"
    pq_file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"title": ["x", "y"], "brand": ["file", None]}), pq_file)
    assert [(r["product_id"], r["brand"]) for r in rows(tmp_path)] == [("007", "file"), ("007", None)]


def test_folders_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    part(tmp_path / "dt=1" / "a.parquet", "1")
    (tmp_path / "dt=2").mkdir()
    with pytest.raises(InputError, match=r"dt=2 holds no Parquet files"):
        open_table(tmp_path, PLAIN)
    part(tmp_path / "dt=2" / "dt=3" / "a.parquet", "2")
    with pytest.raises(InputError, match=r"dt=2 holds dt=3, which is no Parquet file"):
        open_table(tmp_path, PLAIN)
    (tmp_path / "dt=2" / "dt=3").rename(tmp_path / "dt=2" / "shop=3")
    with pytest.raises(InputError, match=r"'shop' is missing in .*dt=1.* but string in .*dt=2"):
        open_table(tmp_path, PLAIN)


def test_a_folder_that_leads_back_to_itself_is_refused(tmp_path: Path) -> None:
    part(tmp_path / "dt=1" / "a.parquet", "1")
    (tmp_path / "dt=2").symlink_to(tmp_path)
    with pytest.raises(InputError, match="which is no Parquet file"):
        open_table(tmp_path, PLAIN)


def test_a_partition_that_comes_while_the_table_is_read(tmp_path: Path) -> None:
    part(tmp_path / "dt=1" / "a.parquet", "1")
    table = open_table(tmp_path, PLAIN)
    part(tmp_path / "dt=2" / "a.parquet", "2")
    with pytest.raises(InputError, match=r"dt=2/a\.parquet was added while the table was read"):
        list(table.batches())


def test_a_hudi_table_is_not_taken_for_a_folder_of_parquet(tmp_path: Path) -> None:
    part(tmp_path / "a.parquet", "1")
    (tmp_path / ".hoodie").mkdir()
    with pytest.raises(InputError, match="Hudi"):
        open_table(tmp_path, PLAIN)


def test_a_damaged_later_file_is_told_after_the_rows_before_it(tmp_path: Path) -> None:
    part(tmp_path / "a.parquet", "1", "2")
    path = part(tmp_path / "b.parquet", *(f"id {i}" for i in range(500)))
    spoiled = bytearray(path.read_bytes())
    spoiled[60:90] = bytes(30)
    path.write_bytes(spoiled)
    table, found = open_table(tmp_path, PLAIN), []
    with pytest.raises(InputError, match=r"b\.parquet is damaged after row 0"):
        for batch in table.batches(1):
            found += batch.accepted.column("product_id").to_pylist()
    assert found == ["1", "2"]


@given(st.lists(st.integers()), st.integers(0, 12), st.booleans())
def test_items_come_in_order_and_an_error_in_its_place(items: list[int], taken: int, fails: bool) -> None:
    def make() -> Iterator[int]:
        yield from items
        if fails:
            raise InputError("the end")

    found = []
    running = ahead(make())
    try:
        for number, item in enumerate(running):
            found.append(item)
            if number == taken:
                break
        else:
            assert not fails
    except InputError:
        assert fails and len(found) == len(items)
    assert found == items[: taken + 1]
    running.close()


def test_at_most_two_are_made_ahead_and_the_thread_ends_with_the_reader() -> None:
    made = 0

    def make() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            yield made

    before = threading.active_count()
    running = ahead(make())
    for taken in range(1, 6):
        next(running)
        time.sleep(0.02)
        assert made == taken + 2
    del running
    gc.collect()
    assert threading.active_count() == before
    assert made == 7
