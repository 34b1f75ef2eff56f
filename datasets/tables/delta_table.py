"""Reader of Delta Lake tables by path or address, through the library deltalake (the extra `delta`).

https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from mmprod.datasets.lazy import lazy
from mmprod.datasets.tables.columnar import EMPTY, ahead, plain, together, unfolded
from mmprod.datasets.tables.library import reading
from mmprod.datasets.tables.parquet_table import fitting
from mmprod.datasets.tables.raw_rows import RawRows
from mmprod.datasets.tables.snapshot import Pinned
from mmprod.storage.errors import InputError

deltalake = lazy("deltalake")  # optional
dataset = lazy("pyarrow.dataset")  # slow to import, and only these tables need it


class DeltaTable:
    """A Delta Lake table in the version that is the newest when it is opened.

    Its files are read in the order in which they were written. `files` are fragments of an Arrow dataset.
    """

    def __init__(self, address: str, options: Mapping[str, str]) -> None:
        """`options`: the library's `storage_options`, such as those of a bucket.

        Raises: InputError if there is no table, it has no row, or needs a feature that the library lacks.
        """
        self._address = address
        with self._reading(address):
            table = deltalake.DeltaTable(address, storage_options=dict(options) or None)
            self._data = _data(table)
            written = _actions(table)
            self.files = sorted(
                self._data.get_fragments(), key=lambda file: (written[file.path][0], file.path)
            )
            self.version = int(table.version())
            self.snapshot = Pinned(f"delta {table.metadata().id} {self.version} {sorted(written.items())}")
            self.rows = int(self._data.count_rows())
        self.schema = pa.schema([plain(field) for field in self._data.schema])
        if not self.rows:
            raise InputError(f"{address} {EMPTY}")

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows with these columns, `batch_rows` at a time (fewer if they are very long), read ahead.

        Raises: InputError, naming the file, if it is missing or damaged.
        """
        return ahead(self._read(columns, batch_rows))

    def _read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        wanted = pa.schema([field for field in self.schema if field.name in columns])
        for file in self.files:
            number = 1
            with self._reading(f"{self._address}: {file.path}"):
                parts = unfolded(self._batches(file, wanted.names, batch_rows), wanted)
                for batch in together(parts, batch_rows):
                    yield RawRows(batch, file.path, range(number, number + batch.num_rows))
                    number += batch.num_rows

    def _batches(self, file: Any, columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        scan = dataset.ParquetFragmentScanOptions(
            use_buffered_stream=True, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
        )
        found: Iterator[pa.RecordBatch] = file.to_batches(
            schema=self._data.schema,
            columns=columns,
            batch_size=fitting(file.metadata, columns, batch_rows),
            batch_readahead=0,
            fragment_readahead=0,
            fragment_scan_options=scan,
        )
        return found

    def _reading(self, what: str) -> Any:
        return reading(what, "a Delta Lake table", "delta")


def _data(table: Any) -> Any:
    """The table as a dataset; its pictures are read as dictionaries, so that a shared one is held once."""
    data = table.to_pyarrow_dataset()
    pictures = {field.name for field in data.schema if pa.types.is_binary(field.type)}
    if not pictures:
        return data
    options = dataset.ParquetReadOptions(dictionary_columns=pictures)
    return table.to_pyarrow_dataset(parquet_read_options=options)


def _actions(table: Any) -> dict[str, tuple[int, int]]:
    """By file: when it was written (ms), and its size in bytes."""
    found = pa.table(table.get_add_actions(flatten=True))
    rows = found.select(["path", "modification_time", "size_bytes"]).to_pylist()
    return {unquote(row["path"]): (row["modification_time"], row["size_bytes"]) for row in rows}
