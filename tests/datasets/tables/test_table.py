"""Foreign product tables: every row becomes a canonical row or a refusal that says where and why."""

import os
import random
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.schemas import PRODUCT, check
from mmprod.datasets.tables.table import ProductTable, TableSpec, open_table
from mmprod.storage.errors import InputError
from mmprod.storage.files import sha256_file

FASHION = Path(__file__).parents[4] / "shared" / "data" / "fashion" / "products.parquet"
NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
PLAIN = TableSpec()


def write(path: Path, **columns: object) -> Path:
    """A Parquet file of the given columns."""
    pq.write_table(pa.table(columns), path, write_page_checksum=True)
    return path


def rows(table: ProductTable, batch_rows: int = 10_000) -> list[dict[str, object]]:
    """All accepted rows; on the way, what always holds is checked."""
    found: list[dict[str, object]] = []
    times: list[int | None] = []
    for batch in table.batches(batch_rows):
        check(batch.accepted, PRODUCT, "accepted")
        batch.accepted.validate(full=True)
        assert len(batch.sources) == batch.accepted.num_rows <= batch_rows
        found += batch.accepted.to_pylist()
        times += batch.accepted["updated_at"].cast(pa.int64()).to_pylist()
    identities = list(table.identities(batch_rows))
    assert [i for batch in identities for i in batch.ids] == [row["product_id"] for row in found]
    assert [moment for batch in identities for moment in batch.times] == times
    return found


def refused(table: ProductTable) -> list[tuple[str, str | None, str]]:
    return [tuple(row) for batch in table.batches() for row in batch.refused]


def test_our_own_schema_comes_back_as_it_is(tmp_path: Path) -> None:
    row = {
        "product_id": "0012345",
        "title": "<b>As delivered</b> ",
        "image": b"\xff\xd8\xff",
        "image_path": "a.jpg",
        "image_url": "https://example.com/a.jpg",
        "category": ["Home", "Lamps"],
        "spu_id": "s1",
        "brand": "B",
        "sales": 3,
        "updated_at": NOW,
        "deleted": False,
        "attributes": [("colour", "red")],
        "pictures": ["b.jpg", "c.jpg"],
        "categories": ["Sale > Lamps"],
    }
    table = pa.Table.from_pylist([row, {"product_id": "NA"}], schema=PRODUCT)
    pq.write_table(table, tmp_path / "t.parquet")
    opened = open_table(tmp_path / "t.parquet", PLAIN, NOW)
    assert opened.rows == 2
    assert rows(opened) == [row, {**dict.fromkeys(PRODUCT.names), "product_id": "NA"}]
    assert not refused(opened)


def test_mapped_columns_levels_and_attributes(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        sku=["a", "b", "c"],
        name=["x", None, ""],
        l1=["Home", "Home", None],
        l2=["Lamps", " ", None],
        l3=pa.array(["Desk", "Wall", None]).dictionary_encode(),
        year=pa.array([2011, None, None], pa.int16()),
        colour=pa.array(["red", "blue", ""], pa.large_string()),
        new=[True, False, None],
    )
    spec = TableSpec({"product_id": "sku", "title": "name"}, ("l1", "l2", "l3"), ("colour", "year", "new"))
    found = rows(open_table(path, spec))
    assert [row["title"] for row in found] == ["x", None, ""]
    assert [row["category"] for row in found] == [["Home", "Lamps", "Desk"], ["Home", "Wall"], None]
    assert [row["attributes"] for row in found] == [
        [("colour", "red"), ("year", "2011"), ("new", "true")],
        [("colour", "blue"), ("new", "false")],
        None,
    ]


@pytest.mark.parametrize(
    ("columns", "spec", "says"),
    [
        ({"sku": ["a"], "title": ["t"]}, PLAIN, "no column for product_id"),
        ({"product_id": ["a"], "titel": ["t"]}, PLAIN, "is it 'titel'"),
        ({"product_id": [1.5], "title": ["t"]}, PLAIN, "'product_id' for product_id is double"),
        ({"product_id": [b"a"], "title": ["t"]}, PLAIN, "binary"),
        ({"product_id": pa.nulls(1), "title": ["t"]}, PLAIN, "null"),
        ({"product_id": ["a"], "title": [["t"]]}, PLAIN, "list"),
        ({"product_id": ["a"], "title": ["t"], "sales": [date(2024, 1, 1)]}, PLAIN, "date32"),
        ({"product_id": ["a"], "title": ["t"], "updated_at": [17]}, PLAIN, "int64"),
        ({"product_id": ["a"], "title": ["t"], "image": [3]}, PLAIN, "int64"),
        ({"product_id": ["a"], "title": ["t"], "category": [[3]]}, PLAIN, "list"),
        ({"product_id": ["a"], "title": ["t"]}, TableSpec({"brand": "maker"}), "'maker'"),
        ({"product_id": ["a"], "title": ["t"]}, TableSpec({"colour": "title"}), "colour is none of"),
        ({"product_id": ["a"], "title": ["t"]}, TableSpec(category=("l1", "l2")), "'l1'"),
        ({"product_id": ["a"], "title": ["t"]}, TableSpec(attributes=("size",)), "'size'"),
        ({"product_id": ["a"], "title": ["t"], "x": [[1]]}, TableSpec(attributes=("x",)), "list"),
        ({"product_id": pa.array([], pa.string()), "title": pa.array([], pa.string())}, PLAIN, "no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_when_opened(
    tmp_path: Path, columns: dict[str, object], spec: TableSpec, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_table(write(tmp_path / "t.parquet", **columns), spec)
    assert "t.parquet" in str(caught.value) or "table.columns" in str(caught.value)


def test_a_table_may_say_that_it_has_no_titles(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", product_id=["a"], image=[b"x"], brand=["ours"])
    found = rows(open_table(path, TableSpec({"title": "", "brand": ""})))
    assert (found[0]["title"], found[0]["image"], found[0]["brand"]) == (None, b"x", None)


def test_repeated_columns_are_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["product_id", "title", "title"])
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="repeated columns title"):
        open_table(tmp_path / "t.parquet", PLAIN)


def test_a_folder_is_read_by_name_and_marks_are_passed_over(tmp_path: Path) -> None:
    for part in (2, 1, 3):
        write(tmp_path / f"part-{part}.parquet", product_id=[f"{part}a", f"{part}b"], title=["t"] * 2)
    for name in ("_SUCCESS", ".part-9.parquet.crc"):
        (tmp_path / name).write_bytes(b"")
    table = open_table(tmp_path, PLAIN)
    assert table.rows == 6
    assert [row["product_id"] for row in rows(table, 1)] == ["1a", "1b", "2a", "2b", "3a", "3b"]
    assert [s for b in table.batches() for s in b.sources][2:4] == ["part-2.parquet:1", "part-2.parquet:2"]


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Parquet files"):
        open_table(tmp_path, PLAIN)
    write(tmp_path / "a.parquet", product_id=["a"], title=["t"])
    (tmp_path / "b.parquet.part").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"b\.parquet\.part"):
        open_table(tmp_path, PLAIN)
    (tmp_path / "b.parquet.part").unlink()
    write(tmp_path / "b.parquet", product_id=[7], title=["t"])
    with pytest.raises(InputError, match=r"'product_id' is string in .*a\.parquet but int64 in .*b\.parquet"):
        open_table(tmp_path, PLAIN)


def test_files_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such product table"):
        open_table(tmp_path / "none.parquet", PLAIN)
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"t\.xlsx"):
        open_table(tmp_path / "t.xlsx", PLAIN)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="not a complete Parquet file"):
        open_table(tmp_path / "t.parquet", PLAIN)


def test_a_truncated_file_is_refused_when_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", product_id=[str(i) for i in range(1000)], title=["t"] * 1000)
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"t\.parquet"):
            open_table(path, PLAIN)


def test_flipped_bytes_are_reported_or_harmless(tmp_path: Path) -> None:
    """In a subprocess, as a reader in C++ might die; what is read must be what was written."""
    dice = random.Random(7)
    path = write(
        tmp_path / "t.parquet", product_id=[dice.randbytes(8).hex() for _ in range(500)], title=["t"] * 500
    )
    code = f"""
import random, sys
from pathlib import Path
from mmprod.storage.errors import InputError
from mmprod.datasets.tables.table import TableSpec, open_table
path, dice, silent = Path({str(path)!r}), random.Random(7), 0
whole = path.read_bytes()
read = lambda: [b.accepted.to_pylist() for b in open_table(path, TableSpec()).batches()]
truth, reported = read(), 0
footer = int.from_bytes(whole[-8:-4], "little") + 8
for _ in range(150):
    spoiled = bytearray(whole)
    spoiled[dice.randrange(4, len(whole) - footer)] ^= 1 << dice.randrange(8)
    path.write_bytes(spoiled)
    try:
        silent += read() != truth
    except InputError as error:
        assert "t.parquet" in str(error)
        reported += 1
print(reported, silent)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reported, silent = map(int, done.stdout.split())
    assert silent == 0
    assert reported > 140  # what is left are bits of page headers that nothing depends on


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", product_id=["a"], title=["t"])
    second = write(tmp_path / "b.parquet", product_id=["b"], title=["t"])
    prints = {open_table(path, PLAIN).fingerprint for path in (first, second, tmp_path)}
    assert len(prints) == 3
    second.rename(tmp_path / "c.parquet")
    assert {
        open_table(path, PLAIN).fingerprint for path in (first, tmp_path / "c.parquet", tmp_path)
    } == prints
    assert len(sha256_file(first)) == len(prints.pop()) == 64


def test_batches_of_large_pictures_stay_small(tmp_path: Path) -> None:
    big = np.random.default_rng(1).bytes(1_000_000)
    path = write(
        tmp_path / "t.parquet", product_id=[str(i) for i in range(200)], title=["t"] * 200, image=[big] * 200
    )
    sizes = [batch.accepted.num_rows for batch in open_table(path, PLAIN).batches()]
    assert sum(sizes) == 200
    assert max(sizes) <= 200  # stored once by dictionary: all the file's bytes fit into one batch
    pq.write_table(pq.read_table(path), path, use_dictionary=False)
    assert max(batch.accepted.num_rows for batch in open_table(path, PLAIN).batches()) <= 32


CELL = st.one_of(
    st.none(), st.text(max_size=8), st.sampled_from(["1E+9", "2024-02-29", "7", "true", "2099-01-01"])
)


@given(st.lists(st.tuples(CELL, CELL, CELL, CELL, CELL), min_size=1, max_size=12), st.integers(1, 5))
def test_accepted_and_refused_are_all_rows(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str | None, ...]], batch_rows: int
) -> None:
    names = ("product_id", "title", "updated_at", "sales", "deleted")
    columns = {
        name: pa.array(values, pa.string())
        for name, values in zip(names, zip(*cells, strict=True), strict=True)
    }
    path = write(tmp_path_factory.mktemp("random") / "t.parquet", **columns)
    table = open_table(path, PLAIN, NOW)
    batches = list(table.batches(batch_rows))
    sources = [
        source for batch in batches for source in (*batch.sources, *(row.source for row in batch.refused))
    ]
    assert sorted(sources) == sorted(f"t.parquet:{n}" for n in range(1, len(cells) + 1))
    assert len(rows(table, batch_rows)) == sum(len(batch.sources) for batch in batches)


@pytest.mark.skipif(not FASHION.exists(), reason=f"the real catalogue is not at {FASHION}")
def test_the_real_catalogue_is_read_whole_and_fast() -> None:
    levels = ("category_l1", "category_l2", "category_l3")
    spec = TableSpec({"product_id": "sku"}, levels, ("gender", "colour", "season", "usage"))
    raw = pq.read_table(FASHION)
    table = open_table(FASHION, spec)
    found = rows(table)
    assert len(found) == table.rows == raw.num_rows
    for row, wanted in zip(found, raw.to_pylist(), strict=True):
        assert (row["product_id"], row["title"], row["image"]) == (
            wanted["sku"],
            wanted["title"],
            wanted["image"],
        )
        assert row["category"] == [wanted[level] for level in levels if wanted[level]]
        assert dict(row["attributes"] or ()) == {n: wanted[n] for n in spec.attributes if wanted[n]}  # type: ignore[call-overload]
    start = time.process_time()
    list(
        open_table(FASHION, TableSpec({"product_id": "sku", "image": ""}, levels, spec.attributes)).batches()
    )
    assert table.rows / (time.process_time() - start) > 50_000  # 700,000 a second alone on two cores


def test_a_file_whose_name_is_no_text_has_rows_whose_origin_is(tmp_path: Path) -> None:
    """The origin of a row is stored and published, which only text can be."""
    path = tmp_path / os.fsdecode(b"day\xff.csv")
    path.write_text("product_id,title\na,lamp\n,shade\n")
    [batch] = open_table(path, TableSpec()).batches()
    told = [*batch.sources, *(refused.source for refused in batch.refused)]
    assert told == ["day\ufffd.csv:2", "day\ufffd.csv:3"]
