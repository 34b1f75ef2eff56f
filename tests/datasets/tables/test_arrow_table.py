"""Arrow files and streams: the rows that Parquet gives, and a clear refusal of what is damaged or hostile."""

import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.schemas import PRODUCT
from mmprod.datasets.tables import arrow_table, columnar
from mmprod.datasets.tables.arrow_messages import messages
from mmprod.datasets.tables.arrow_table import ArrowTable
from mmprod.datasets.tables.table import TableSpec, column_names, open_table
from mmprod.storage.errors import InputError

PLAIN = TableSpec()
FORMS = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}


def write(
    path: Path, table: pa.Table, form: str = "file", rows: int | None = None, packed: str | None = None
) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=packed, unify_dictionaries=form == "file")
    with pa.OSFile(str(path), "wb") as sink, FORMS[form](sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def ids(count: int) -> pa.Table:
    return pa.table({"product_id": [f"{i:04}" for i in range(count)], "title": ["t"] * count})


def read(path: Path, batch_rows: int = 10_000) -> list[dict[str, Any]]:
    table = open_table(path, PLAIN)
    found = [row for batch in table.batches(batch_rows) for row in batch.accepted.to_pylist()]
    assert [i for batch in table.identities(batch_rows) for i in batch.ids] == [
        r["product_id"] for r in found
    ]
    assert table.rows == len(found) + sum(len(batch.refused) for batch in table.batches(batch_rows))
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [None, "lz4", "zstd"])
@pytest.mark.parametrize("name", ["t.arrow", "t.feather", "t.ipc"])
def test_all_forms_give_the_rows_that_parquet_gives(
    tmp_path: Path, form: str, packed: str | None, name: str
) -> None:
    table = pa.table(
        {
            "product_id": pa.array(["0012", "b", "c", None], pa.large_string()),
            "title": pa.array(["x", "y", "x", "y"]).dictionary_encode(),
            "image": pa.array([b"1", b"2", b"1", None], pa.large_binary()).dictionary_encode(),
            "category": pa.array([["Home", "Lamps"], None, [], ["Home"]]),
            "sales": pa.array([1, 2, None, 2]).dictionary_encode(),
            "attributes": pa.array([[("colour", "red")], None, [], []], pa.map_(pa.string(), pa.string())),
            "brand": pa.array(["B", None, "C", ""], pa.string_view()),
        }
    )
    pq.write_table(
        table.drop(["brand"]).append_column("brand", table["brand"].cast("string")), tmp_path / "t.parquet"
    )
    path = write(tmp_path / name, table, form, 3, packed)
    found = read(path, 2)
    assert found == read(tmp_path / "t.parquet", 2)
    assert [row["title"] for row in found] == ["x", "y", "x"]
    [refusal] = [row for batch in open_table(path, PLAIN).batches(2) for row in batch.refused]
    assert refusal == (f"{name}:4", None, "id_missing")


def test_a_folder_and_its_partitions(tmp_path: Path) -> None:
    for day in (2, 1):
        folder = tmp_path / f"updated_at=2025-03-0{day}"
        folder.mkdir()
        write(folder / "b.arrow", ids(3), "stream")
        write(folder / "a.feather", ids(2))
    found = read(tmp_path, 2)
    assert [row["product_id"] for row in found] == ["0000", "0001", "0000", "0001", "0002"] * 2
    assert str(found[4]["updated_at"]) == "2025-03-01 00:00:00+00:00"
    assert column_names(tmp_path, PLAIN)[1] == {"kind": "Arrow", "files": 4, "rows": 10}
    pq.write_table(ids(1), tmp_path / "updated_at=2025-03-02" / "c.parquet")
    with pytest.raises(InputError, match=r"holds both a\.feather and c\.parquet"):
        open_table(tmp_path, PLAIN)


def test_dictionaries_that_change_between_batches(tmp_path: Path) -> None:
    parts = [pa.array(words).dictionary_encode() for words in (["a", "b"], ["b", "c"], ["d", "a"])]
    table = pa.table({"product_id": pa.chunked_array(parts), "title": pa.chunked_array(parts)})
    found = read(write(tmp_path / "t.arrow", table, "stream"), 1)
    assert [row["product_id"] for row in found] == list("abbcda")


@pytest.mark.parametrize("form", FORMS)
def test_every_cut_is_refused_when_opened(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "t.arrow", ids(60), form, 20)
    whole = path.read_bytes()
    for size in (*range(0, len(whole) - 100, 7), *range(len(whole) - 100, len(whole))):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"t\.arrow is not a complete Arrow file"):
            open_table(path, PLAIN)


def empty(path: Path) -> None:
    write(path, ids(0))


def feather_1(path: Path) -> None:
    path.write_bytes(b"FEA1" + bytes(60))


def parquet(path: Path) -> None:
    pq.write_table(ids(3), path)


def long_header(path: Path) -> None:
    path.write_bytes(b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1) + bytes(60))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (empty, "has no rows"),
        (feather_1, "Feather version 1; write version 2"),
        (parquet, "is not a complete Arrow file"),
        (long_header, "is not a complete Arrow file"),
        (lambda path: path.write_bytes(b""), "is not a complete Arrow file"),
        (lambda path: path.write_text("product_id,title\na,A\n"), "is not a complete Arrow file"),
    ],
)
def test_what_is_no_table(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "t.arrow")
    with pytest.raises(InputError, match=rf"t\.arrow.*{says}"):
        open_table(tmp_path / "t.arrow", PLAIN)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [None, "zstd"])
def test_a_batch_that_would_fill_the_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, form: str, packed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"product_id": ["a"], "title": ["t" * 3_000_000]})
    path = write(tmp_path / "t.arrow", table, form, packed=packed)
    assert packed is None or path.stat().st_size < 30_000
    assert sum(message.decoded for message in messages(path)) > 3_000_000
    monkeypatch.setattr(arrow_table, "MOST_BYTES", 1_000_000)
    with pytest.raises(InputError, match=r"t\.arrow: .* number 1 decodes to 3,000,\d\d\d bytes"):
        open_table(path, PLAIN)


def test_dictionaries_within_structs_are_refused(tmp_path: Path) -> None:
    inner = pa.StructArray.from_arrays([pa.array(["x"]).dictionary_encode()], ["path"])
    path = write(tmp_path / "t.arrow", pa.table({"product_id": ["a"], "title": ["t"], "image": inner}))
    with pytest.raises(InputError, match="'image' has a dictionary within"):
        open_table(path, PLAIN)


def test_one_long_value_in_many_rows_is_expanded_for_a_few_at_a_time(tmp_path: Path) -> None:
    long = np.random.default_rng(0).bytes(50_000).hex()
    places = pa.array(np.zeros(2_000), pa.int32())
    image = pa.DictionaryArray.from_arrays(places, pa.array([long.encode()]))
    levels = pa.ListArray.from_arrays(
        pa.array(range(2_001), pa.int32()), pa.DictionaryArray.from_arrays(places, pa.array([long]))
    )
    table = ArrowTable([write(tmp_path / "t.arrow", pa.table({"image": image, "levels": levels}))])
    sizes = [(raw.batch.num_rows, raw.batch.nbytes) for raw in _some(table, 3)]
    assert all(100 < rows < 400 and size < 2 * columnar.BATCH_BYTES for rows, size in sizes)


def _some(table: ArrowTable, count: int) -> list[Any]:
    running = table.read(table.schema.names, 10_000)
    return [next(running) for _ in range(count)]


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bytes_never_end_the_process(tmp_path: Path, form: str) -> None:
    """In a subprocess, as a reader in C++ might die; Arrow has no checksums, so values may differ."""
    table = ids(50).append_column("brand", pa.array(["a", "b"] * 25).dictionary_encode())
    path = write(tmp_path / "t.arrow", table, form, 20, "zstd")
    code = f"""
import random
from pathlib import Path
from mmprod.storage.errors import InputError
from mmprod.datasets.tables.table import TableSpec, open_table
path, dice, refused = Path({str(path)!r}), random.Random({random.Random(form).randrange(10**6)}), 0
whole = path.read_bytes()
for _ in range(300):
    spoiled = bytearray(whole)
    spoiled[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
    path.write_bytes(spoiled)
    try:
        table = open_table(path, TableSpec())
        assert sum(len(b.ids) for b in table.identities()) <= table.rows
        assert sum(b.accepted.num_rows + len(b.refused) for b in table.batches()) == table.rows
    except InputError as error:
        refused += 1
print(refused)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


ROW = st.fixed_dictionaries(
    {
        "product_id": st.text("ab0", min_size=1, max_size=4),
        "title": st.none() | st.text(max_size=8),
        "image": st.none() | st.binary(max_size=9),
        "category": st.none() | st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3),
        "sales": st.none() | st.integers(0, 9),
    }
)


@settings(max_examples=50)
@given(
    st.lists(ROW, min_size=1, max_size=30), st.integers(1, 9), st.integers(1, 9), st.sampled_from([*FORMS])
)
def test_batches_of_any_size_hold_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], size: int, step: int, form: str
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.arrow"
    write(path, pa.Table.from_pylist(rows, PRODUCT), form, size)
    assert [{name: row[name] for name in rows[0]} for row in read(path, step)] == rows
