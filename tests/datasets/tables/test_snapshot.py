"""A table that changes while it is read is refused before anything that was read from it counts."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.storage.errors import InputError

PLAIN = TableSpec()


def csv(path: Path, first: int, rows: int) -> Path:
    path.write_text("product_id,title\n" + "".join(f"p{n:04},Mug {n}\n" for n in range(first, first + rows)))
    return path


def parquet(path: Path, rows: int) -> Path:
    ids = [f"p{n:04}" for n in range(rows)]
    pq.write_table(pa.table({"product_id": ids, "title": ids}), path)
    return path


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("p9999,Late mug\n")


def replace(path: Path) -> None:
    csv(path.with_suffix(".new"), 500, 100).replace(path)


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewrite(path: Path) -> None:
    """As many bytes, other ones, and the time of before."""
    before = path.stat()
    path.write_text(path.read_text().replace("Mug 7\n", "Jug 7\n"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [append, replace, shrink, rewrite, Path.unlink])
def test_a_file_that_changes(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = csv(tmp_path / "t.csv", 0, 100)
    table = open_table(path, PLAIN)
    assert table.fingerprint
    assert sum(len(batch.ids) for batch in table.identities(30)) == 100
    batches = table.batches(30)
    next(batches)
    change(path)
    with pytest.raises(InputError, match=r"t\.csv"):
        next(batches)
    with pytest.raises(InputError, match=r"t\.csv"):
        list(table.identities(30))


def test_before_its_fingerprint_was_taken(tmp_path: Path) -> None:
    path = csv(tmp_path / "t.csv", 0, 100)
    table = open_table(path, PLAIN)
    append(path)
    with pytest.raises(InputError, match=r"t\.csv changed while it was read"):
        _ = table.fingerprint


def test_what_leaves_the_content_alone_is_no_change(tmp_path: Path) -> None:
    path = csv(tmp_path / "t.csv", 0, 100)
    table = open_table(path, PLAIN)
    before = table.fingerprint
    os.utime(path)
    os.link(path, tmp_path / "backup.csv")
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert sum(batch.accepted.num_rows for batch in table.batches(30)) == 100
    assert open_table(path, PLAIN).fingerprint == before


def test_a_folder_that_a_file_comes_to_or_goes_from(tmp_path: Path) -> None:
    for name in ("a", "b"):
        parquet(tmp_path / f"{name}.parquet", 50)
    table = open_table(tmp_path, PLAIN)
    assert table.fingerprint
    parquet(tmp_path / "c.parquet", 50)
    with pytest.raises(InputError, match=r"c\.parquet was added while the table was read"):
        list(table.batches())
    (tmp_path / "c.parquet").unlink()
    assert sum(batch.accepted.num_rows for batch in table.batches()) == 100
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(InputError, match=r"b\.parquet was removed"):
        list(table.identities())


@pytest.mark.parametrize("change", [Path.unlink, shrink, lambda path: parquet(path, 70)])
def test_another_file_of_a_folder(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """It is noticed before its own rows are used; those of the files before it are what they were."""
    for name in ("a", "b", "c", "d"):
        parquet(tmp_path / f"{name}.parquet", 50)
    table, found = open_table(tmp_path, PLAIN), []
    with pytest.raises(InputError, match=r"d\.parquet"):
        for batch in table.batches():
            if not found:
                change(tmp_path / "d.parquet")
            found += batch.sources
    assert found == [f"{name}.parquet:{row}" for name in "abc" for row in range(1, 51)]
