"""Reader of Iceberg tables by path or address, without a catalog, through pyiceberg (the extra `iceberg`).

https://iceberg.apache.org/spec/
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmprod.datasets.lazy import lazy
from mmprod.datasets.tables.columnar import EMPTY, ahead, plain, together, unfolded
from mmprod.datasets.tables.library import reading
from mmprod.datasets.tables.raw_rows import RawRows
from mmprod.datasets.tables.snapshot import Pinned
from mmprod.storage.errors import InputError

iceberg, iceberg_files = lazy("pyiceberg.table"), lazy("pyiceberg.io.pyarrow")  # optional

METADATA = ".metadata.json"
_NUMBER = re.compile(rf"v?(\d+)\b.*{re.escape(METADATA)}")


class IcebergTable:
    """An Iceberg table in the snapshot that is current when it is opened.

    Its files are read in the order of their names, one at a time. Rows are numbered as far as they are not
    deleted. `files` are the tasks of a scan.
    """

    def __init__(self, address: str, options: Mapping[str, str]) -> None:
        """`address`: a metadata file, or the table's folder on this machine. `options`: the library's
        settings of file access, such as those of a bucket.

        Raises: InputError if there is no table, it has no row, or needs a feature that the library lacks.
        """
        self._address = address if address.endswith(METADATA) else str(newest_metadata(Path(address)))
        with self._reading(self._address):
            self._table = iceberg.StaticTable.from_metadata(self._address, dict(options))
            scan = self._table.scan()
            self.schema = pa.schema([plain(field) for field in scan.projection().as_arrow()])
            self.files = sorted(scan.plan_files(), key=_path)
            self.version = self._table.metadata.current_snapshot_id
            self.snapshot = Pinned(
                f"iceberg {self._table.metadata.table_uuid} {self.version} {_content(self.files)}"
            )
        deletes = any(task.delete_files for task in self.files)
        self.rows = None if deletes else sum(task.file.record_count for task in self.files)
        if not self.files or self.rows == 0:
            raise InputError(f"{address} {EMPTY}")

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows with these columns, at most `batch_rows` at a time, read ahead.

        These columns of a file are in memory as a whole.
        Raises: InputError, naming the file, if it is missing or damaged.
        """
        return ahead(self._read(columns, batch_rows))

    def _read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        wanted = pa.schema([field for field in self.schema if field.name in columns])
        for task in self.files:
            number, name = 1, _path(task).rpartition("/")[2]
            with self._reading(_path(task)):
                parts = unfolded(self._batches(task, wanted, batch_rows), wanted)
                for batch in together(parts, batch_rows):
                    yield RawRows(batch, name, range(number, number + batch.num_rows))
                    number += batch.num_rows

    def _batches(self, task: Any, wanted: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        scan = self._table.scan(selected_fields=tuple(wanted.names))
        pictures = [field.name for field in wanted if _is_bytes(field.type)]  # shared ones are stored once
        file = iceberg_files.ArrowScan(
            self._table.metadata,
            self._table.io,
            scan.projection(),
            scan.row_filter,
            dictionary_columns=tuple(pictures),
        )
        for batch in file.to_record_batches([task]):
            for start in range(0, batch.num_rows, batch_rows):
                yield batch.slice(start, batch_rows)

    def _reading(self, what: str) -> Any:
        return reading(what, "an Iceberg table", "iceberg")


def newest_metadata(folder: Path) -> Path:
    """The metadata file of a table's folder with the highest number.

    Raises: InputError if there is none, or if two have it: one of them may never have been committed.
    """
    numbers = {path: _number(path) for path in (folder / "metadata").glob("*" + METADATA)}
    newest = max(numbers.values(), default=-1)
    found = sorted(path for path, number in numbers.items() if number == newest)
    if newest < 0:
        raise InputError(f"{folder / 'metadata'} holds no numbered {METADATA} file: is it an Iceberg table?")
    if len(found) > 1:
        raise InputError(
            f"{folder}: {found[0].name} and {found[1].name} have the same number, and only one is the table; "
            "name the one that the catalog has instead of the folder"
        )
    return found[0]


def _number(path: Path) -> int:
    match = _NUMBER.fullmatch(path.name)
    return int(match[1]) if match else -1


def _path(task: Any) -> str:
    return str(task.file.file_path)


def _content(tasks: list[Any]) -> list[tuple[str, int, list[str]]]:
    """The files that a snapshot consists of."""
    return [
        (_path(task), task.file.file_size_in_bytes, sorted(file.file_path for file in task.delete_files))
        for task in tasks
    ]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
