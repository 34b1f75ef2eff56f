"""Parquet whose dictionaries hide gigabytes: read in parts of a bounded size, with the very same rows."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.tables import parquet_table
from mmprod.datasets.tables.parquet_table import ParquetTable

PEAK = """
import resource, sys
from pathlib import Path
from mmprod.datasets.tables.parquet_table import ParquetTable
table = ParquetTable([Path(sys.argv[1])])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
print(sum(raw.batch.num_rows for raw in table.read(table.schema.names, 10_000)), peak() - before)
"""
TEXT = pa.string()
ATTRIBUTES = pa.map_(TEXT, TEXT)


def read(path: Path, *columns: str, rows: int = 10_000) -> list[pa.RecordBatch]:
    table = ParquetTable([path])
    return [raw.batch for raw in table.read(list(columns) or table.schema.names, rows)]


@pytest.mark.parametrize("kind", ["picture", "levels", "attributes"])
def test_one_long_value_in_ten_thousand_rows_is_not_written_out_for_all_at_once(
    kind: str, tmp_path: Path
) -> None:
    """Ten thousand times 400 kB are 4 GB; the file has 400 kB."""
    long = np.random.default_rng(0).bytes(200_000).hex()
    values = {
        "picture": pa.array([long.encode()], pa.binary()),
        "levels": pa.array([["Home", long]], pa.list_(TEXT)),
        "attributes": pa.array([[("colour", long)]], ATTRIBUTES),
    }
    ids = [str(number) for number in range(10_000)]
    column = values[kind].take(pa.array(np.zeros(2_500, int)))
    schema = pa.schema({"id": TEXT, kind: column.type})
    path = tmp_path / "shared.parquet"
    with pq.ParquetWriter(path, schema, dictionary_pagesize_limit=10_000_000) as writer:
        for start in range(0, 10_000, 2_500):
            writer.write_batch(pa.record_batch([pa.array(ids[start : start + 2_500]), column], schema=schema))
    assert path.stat().st_size < 4_000_000
    line = [sys.executable, "-c", PEAK, str(path)]
    rows, more = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    assert rows == "10000"
    assert int(more) < 400, f"{more} MB"


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "image": st.none() | st.sampled_from([b"", b"a" * 50, b"b" * 900]),
                "title": st.none() | st.sampled_from(["", "lamp", "灯" * 40]),
                "levels": st.none() | st.lists(st.none() | st.sampled_from(["Home", "x" * 300]), max_size=3),
                "attributes": st.none()
                | st.lists(
                    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "y" * 200])), max_size=2
                ),
                "sales": st.none() | st.integers(0, 9),
            }
        ),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([200, 2_000, 10**6]),
)
def test_parts_hold_the_same_rows_of_the_same_types(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], size: int
) -> None:
    schema = pa.schema(
        {
            "image": pa.large_binary(),
            "title": TEXT,
            "levels": pa.list_(TEXT),
            "attributes": ATTRIBUTES,
            "sales": pa.int64(),
        }
    )
    table = pa.Table.from_pylist(rows, schema)
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    pq.write_table(table, path)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(parquet_table, "_BATCH_BYTES", size)
        found = read(path)
    assert pa.Table.from_batches(found).equals(table)
    assert all(batch.num_rows == 1 or batch.nbytes < 40 * size + 10_000 for batch in found)


def test_a_column_written_as_a_dictionary_is_one_of_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pandas writes categories."""
    monkeypatch.setattr(parquet_table, "_BATCH_BYTES", 10_000)
    path = tmp_path / "t.parquet"
    plain = pa.array([b"x" * 1_000, None] * 100, pa.binary())
    pq.write_table(pa.table({"image": plain.dictionary_encode()}), path)
    found = read(path)
    assert pa.Table.from_batches(found)["image"].combine_chunks().equals(plain)
    assert max(batch.num_rows for batch in found) <= 21


def test_numbers_of_rows_go_on_over_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "_BATCH_BYTES", 1_000)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": [str(i) for i in range(50)], "image": [b"x" * 400] * 50}), path)
    raws = list(ParquetTable([path]).read(["image", "id"], 10_000))
    assert len(raws) > 20
    assert [number for raw in raws for number in raw.numbers] == list(range(1, 51))
    assert [id_ for raw in raws for id_ in raw.batch["id"].to_pylist()] == [str(i) for i in range(50)]


def test_many_different_values_inside_of_lists_are_read_in_usual_batches(tmp_path: Path) -> None:
    """Their dictionary has overflowed, which Arrow can't read as one."""
    ids = range(20_000)
    path = tmp_path / "t.parquet"
    table = pa.table({"levels": pa.array([["Home", f"level {i} " + "x" * 100] for i in ids], pa.list_(TEXT))})
    pq.write_table(table, path, row_group_size=10_000)
    found = read(path)
    assert pa.Table.from_batches(found).equals(table)
    assert len(found) < 10


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.EIO, "Input/output error"), pa.ArrowMemoryError()]
)
def test_what_the_machine_lacks_is_not_the_file_s_damage(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    table = ParquetTable([path])

    def fails(*given: object) -> None:
        raise error

    monkeypatch.setattr(parquet_table, "fitting", fails)
    with pytest.raises(type(error)):
        list(table.read(["id"], 10))
