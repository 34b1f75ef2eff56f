"""Delta Lake and Iceberg tables, written by their own libraries: pinned versions, refusals with a cure."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.types import StringType

from mmprod.datasets.tables.table import TableSpec, column_names, open_table
from mmprod.storage.errors import InputError

PLAIN = TableSpec()
PICTURES = pa.array([b"\xff\xd8one", None, b"\xff\xd8one"], pa.binary())


def products(*ids: str, **columns: object) -> pa.Table:
    return pa.table({"product_id": ids, "title": [f"title {i}" for i in ids], **columns})


def rows(table: Any, batch_rows: int = 10_000) -> list[dict[str, Any]]:
    found = [row for batch in table.batches(batch_rows) for row in batch.accepted.to_pylist()]
    ids = [name for batch in table.identities(batch_rows) for name in batch.ids]
    assert ids == [row["product_id"] for row in found]
    assert table.rows in (None, len(found))
    return found


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlCatalog]:
    folder = tmp_path_factory.mktemp("warehouse")
    catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("shop")
    yield catalog
    catalog.close()


def iceberg(catalog: SqlCatalog, name: str, *parts: pa.Table) -> tuple[Table, Path]:
    table = catalog.create_table(f"shop.{name}", schema=parts[0].schema)
    for part in parts:
        table.append(part)
    return table, Path(table.location().removeprefix("file://"))


def test_a_delta_table_with_partitions_and_a_later_column(tmp_path: Path) -> None:
    path = tmp_path / "products"
    write_deltalake(
        path, products("1", "2", "3", brand=["x y", "ü/=", "x y"], image=PICTURES), partition_by=["brand"]
    )
    write_deltalake(path, products("4", brand=["x y"], sales=[7]), mode="append", schema_mode="merge")
    table = open_table(path, PLAIN)
    found = {row["product_id"]: (row["brand"], row["image"], row["sales"]) for row in rows(table, 1)}
    one = PICTURES[0].as_py()
    assert found == {
        "1": ("x y", one, None),
        "2": ("ü/=", None, None),
        "3": ("x y", one, None),
        "4": ("x y", None, 7),
    }
    assert [batch.accepted.num_rows for batch in table.batches(2)] in ([1, 2, 1], [2, 1, 1])
    assert list(table.batches())[-1].sources[0].startswith("brand=x%20y/part-")
    names, form = column_names(path, PLAIN)
    assert {*names} == {"product_id", "title", "brand", "image", "sales"}
    assert form == {"kind": "Delta Lake", "version": 1, "files": 3, "rows": 4}


def test_a_delta_table_is_read_in_the_version_in_which_it_was_opened(tmp_path: Path) -> None:
    write_deltalake(tmp_path, products("1", "2"))
    table = open_table(tmp_path, PLAIN)
    before = table.fingerprint
    assert open_table(tmp_path, PLAIN).fingerprint == before
    write_deltalake(tmp_path, products("3"), mode="append")
    DeltaTable(tmp_path).delete("product_id = '1'")
    assert [row["product_id"] for row in rows(table)] == ["1", "2"]
    later = open_table(tmp_path, PLAIN)
    assert sorted(row["product_id"] for row in rows(later)) == ["2", "3"]
    assert len({before, table.fingerprint, later.fingerprint}) == 2


def test_a_large_delta_table_comes_in_small_batches(tmp_path: Path) -> None:
    shared = pa.array([bytes(1_000_000)]).take(pa.array([0] * 200))
    write_deltalake(tmp_path, products(*(str(i) for i in range(200)), image=shared))
    sizes = [batch.accepted.num_rows for batch in open_table(tmp_path, PLAIN).batches()]
    assert sum(sizes) == 200 and max(sizes) <= 33


def test_a_missing_delta_file(tmp_path: Path) -> None:
    write_deltalake(tmp_path, products("1", "2"))
    table = open_table(tmp_path, PLAIN)
    [file] = tmp_path.glob("*.parquet")
    file.unlink()
    with pytest.raises(InputError, match=file.name):
        list(table.identities())
    with pytest.raises(InputError, match=f"{tmp_path} can't be read as a Delta Lake table"):
        open_table(tmp_path, PLAIN)


def no_log(path: Path) -> None:
    (path / "_delta_log").mkdir()


def empty(path: Path) -> None:
    write_deltalake(path, products("1"))
    DeltaTable(path).delete()


def deletion_vectors(path: Path) -> None:
    write_deltalake(path, products("1"))
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}
    (path / "_delta_log" / f"{1:020}.json").write_text(json.dumps(protocol) + "\n")


def spoiled(path: Path) -> None:
    write_deltalake(path, products("1"))
    (path / "_delta_log" / f"{1:020}.json").write_text('{"add": {"pa')


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_log, "can't be read as a Delta Lake table"),
        (empty, "has no rows"),
        (deletion_vectors, "deletionVectors"),
        (spoiled, "can't be read as a Delta Lake table"),
    ],
)
def test_delta_tables_that_are_refused(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path)
    with pytest.raises(InputError, match=says) as caught:
        open_table(tmp_path, PLAIN)
    assert str(tmp_path) in str(caught.value)


def test_an_address_is_passed_to_the_library_with_its_options() -> None:
    options = {"aws_endpoint_url": "http://127.0.0.1:1", "aws_access_key_id": "a", "max_retries": "0"}
    options |= {
        "aws_secret_access_key": "b",
        "aws_region": "x",
        "aws_allow_http": "true",
        "retry_timeout": "1s",
    }
    with pytest.raises(
        InputError, match=r"^s3://shop/products can't be read as a Delta Lake table.*127\.0\.0\.1:1"
    ):
        open_table(Path("s3://shop/products"), TableSpec(options=options))


def test_an_iceberg_table_by_folder_or_metadata(catalog: SqlCatalog) -> None:
    table, path = iceberg(
        catalog, "plain", products("1", "2", "3", image=PICTURES), products("4", image=PICTURES[1:2])
    )
    with table.update_schema() as update:
        update.rename_column("title", "name")
        update.add_column("brand", StringType())
    table.append(pa.table({"product_id": ["5"], "name": ["five"], "image": PICTURES[:1], "brand": ["B"]}))
    table.delete("product_id == '2'")
    spec = TableSpec({"title": "name"})
    opened = open_table(path, spec)
    found = {row["product_id"]: (row["title"], row["image"], row["brand"]) for row in rows(opened, 1)}
    one = PICTURES[0].as_py()
    assert found == {
        "1": ("title 1", one, None),
        "3": ("title 3", one, None),
        "4": ("title 4", None, None),
        "5": ("five", one, "B"),
    }
    metadata = Path(table.metadata_location.removeprefix("file://"))
    assert open_table(metadata, spec).fingerprint == opened.fingerprint
    form = column_names(path, spec)[1]
    assert form == {
        "kind": "Iceberg",
        "snapshot": table.current_snapshot().snapshot_id,
        "files": 3,
        "rows": 4,
    }


def test_an_iceberg_table_is_read_in_the_snapshot_in_which_it_was_opened(catalog: SqlCatalog) -> None:
    table, path = iceberg(catalog, "pinned", products("1", "2"))
    opened = open_table(path, PLAIN)
    before = opened.fingerprint
    table.append(products("3"))
    table.delete("product_id == '1'")
    assert [row["product_id"] for row in rows(opened)] == ["1", "2"]
    later = open_table(path, PLAIN)
    assert sorted(row["product_id"] for row in rows(later)) == ["2", "3"]
    assert len({before, opened.fingerprint, later.fingerprint}) == 2


def test_the_tenth_metadata_is_newer_than_the_ninth(catalog: SqlCatalog) -> None:
    table, path = iceberg(catalog, "many", products("0"))
    for number in range(1, 12):
        table.append(products(str(number)))
    assert open_table(path, PLAIN).rows == 12
    name = Path(table.metadata_location).name
    number, _, rest = name.partition("-")
    (path / "metadata" / f"{number}-0{rest}").write_bytes((path / "metadata" / name).read_bytes())
    with pytest.raises(InputError, match=r"have the same number.*name the one that the catalog has"):
        open_table(path, PLAIN)


def test_iceberg_tables_that_are_refused(catalog: SqlCatalog, tmp_path: Path) -> None:
    table, path = iceberg(catalog, "refused", products("1"))
    metadata = json.loads(Path(table.metadata_location.removeprefix("file://")).read_text())
    [file] = (path / "data").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-9])
    opened = open_table(path, PLAIN)
    with pytest.raises(InputError, match=file.name):
        list(opened.identities())
    catalog.create_table("shop.empty", schema=products("1").schema)
    with pytest.raises(InputError, match="has no rows"):
        open_table(path.parent / "empty", PLAIN)
    for name, content in (("a", "{}"), ("b", "{"), ("c", json.dumps(metadata | {"format-version": 9}))):
        bad = tmp_path / f"{name}.metadata.json"
        bad.write_text(content)
        with pytest.raises(InputError, match=rf"{bad.name} can't be read as an Iceberg table"):
            open_table(bad, PLAIN)
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "none.metadata.json").write_text("{}")
    with pytest.raises(InputError, match="holds no numbered"):
        open_table(tmp_path, PLAIN)


@pytest.mark.parametrize(("library", "extra"), [("deltalake", "delta"), ("pyiceberg", "iceberg")])
def test_without_the_library_the_extra_is_named(tmp_path: Path, library: str, extra: str) -> None:
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "v1.metadata.json").write_text("{}")
    path = tmp_path if extra == "delta" else tmp_path / "v1.metadata.json"
    code = f"""
import sys
from pathlib import Path
sys.modules[{library!r}] = None
from mmprod.datasets.tables.table import TableSpec, open_table
try:
    open_table(Path({str(path)!r}), TableSpec())
except ValueError as error:
    print(error)
assert not {{"pyarrow.dataset", "deltalake", "pyiceberg"}} & {{n for n, m in sys.modules.items() if m}}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f'pip install "mmprod[{extra}]"' in done.stdout and str(path) in done.stdout
