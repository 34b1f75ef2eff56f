"""Streaming reader of Parquet files, one or a folder of them; a whole table is never in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets.tables.columnar import (
    BATCH_BYTES,
    EMPTY,
    ahead,
    check_same,
    folded_bytes,
    plain,
    raise_own,
    rows_of,
    together,
    unfolded,
)
from mmprod.datasets.tables.dictionary_page import longest_value
from mmprod.datasets.tables.partitions import name_below, partition_of, with_partition, with_partition_fields
from mmprod.datasets.tables.raw_rows import RawRows
from mmprod.storage.errors import InputError

_BATCH_BYTES = BATCH_BYTES
_NESTED_BYTES = 4 * _BATCH_BYTES  # most bytes of long values inside lists or maps
_FEW_ROWS = 128  # least rows read at once when rows may share a long value inside lists or maps


class ParquetTable:
    """Parquet files with the same columns, read one after the other in the given order.

    The folders between `root` and a file, such as ``dt=2026-11-30``, give it further columns, of text.
    """

    def __init__(self, files: list[Path], root: Path | None = None) -> None:
        """Read every footer. Raises: InputError if one is unreadable, columns differ, or there is no row."""
        self.files = files
        self._root = root
        self.schema = self._footer(files[0])[0]
        self.rows = 0
        for path in files:
            schema, rows = self._footer(path)
            check_same(self.schema, schema, files[0], path)
            self.rows += rows
        if not self.rows:
            raise InputError(f"{files[0]} {EMPTY}")

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows with these columns, `batch_rows` at a time (fewer if they are very long), read ahead.

        The file stores a value that many rows share only once. Such values are read as dictionaries, and
        expanded for as many rows at a time as amount to about _BATCH_BYTES.
        Raises: InputError, naming the file, if its pages are damaged.
        """
        return ahead(self._read(columns, batch_rows))

    def _read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        for path in self.files:
            yield from rows_of(path, name_below(self._root, path), self._batches(path, columns, batch_rows))

    def _batches(self, path: Path, columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a file in the table's own types, even if read as dictionaries."""
        with _open(path) as file:
            metadata, own = file.metadata, set(file.schema_arrow.names)
        given = partition_of(self._root, path).items()
        further = {name: value for name, value in given if name in columns and name not in own}
        columns = [name for name in columns if name in own] or [min(own)]
        rows = fitting(metadata, columns, batch_rows)
        longest = _longest_shared(path, metadata, columns)
        shared, step = [name for name, size in longest.items() if size * rows > _BATCH_BYTES], rows
        if not set(shared) <= set(columns):  # Arrow can't read values inside lists as dictionaries
            most = max(size for name, size in longest.items() if name not in columns)
            if most * rows > _NESTED_BYTES:
                shared, step = [], min(rows, max(_FEW_ROWS, _NESTED_BYTES // most))
            shared = [name for name in shared if name in columns]
        wanted = pa.schema([field for field in self.schema if field.name in columns])
        read = 0
        with _open(path, shared, metadata) as file:
            batches = file.iter_batches(step, columns=columns)
            for batch in together(unfolded(batches, wanted, _BATCH_BYTES, folded_bytes), rows, _BATCH_BYTES):
                read += batch.num_rows
                yield with_partition(batch, further)
        if read != metadata.num_rows:
            raise InputError(f"{path} has {read} rows, its footer says {metadata.num_rows}")

    def _footer(self, path: Path) -> tuple[pa.Schema, int]:
        try:
            with _open(path) as file:
                own = [plain(field) for field in file.schema_arrow]
                return with_partition_fields(own, self._root, path), file.metadata.num_rows
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise_own(error)
            raise InputError(f"{path} is not a complete Parquet file: {error}") from error


def _open(path: Path, shared: Sequence[str] = (), metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a file; the columns `shared` are read as dictionaries."""
    # pre_buffer would hold the pictures of a whole row group in memory.
    return pq.ParquetFile(
        path,
        metadata=metadata,
        page_checksum_verification=True,
        pre_buffer=False,
        buffer_size=1 << 20,
        read_dictionary=list(shared),
    )


def fitting(metadata: pq.FileMetaData, columns: list[str], batch_rows: int) -> int:
    """`batch_rows`, or fewer: about _BATCH_BYTES of rows in the row group with the longest rows."""
    fitting = batch_rows
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size = sum(chunk.total_uncompressed_size for chunk in _chunks(group, columns))
        fitting = min(fitting, int(_BATCH_BYTES * group.num_rows / max(size, 1)))
    return max(1, fitting)


def _longest_shared(path: Path, metadata: pq.FileMetaData, columns: list[str]) -> dict[str, int]:
    """By column path: bytes of the longest value that many rows may share."""
    found: dict[str, int] = {}
    with path.open("rb") as file:
        for number in range(metadata.num_row_groups):
            for chunk in _chunks(metadata.row_group(number), columns):
                size = longest_value(file, chunk)
                found[chunk.path_in_schema] = max(size, found.get(chunk.path_in_schema, 0))
    return found


def _chunks(group: pq.RowGroupMetaData, columns: list[str]) -> Iterator[pq.ColumnChunkMetaData]:
    """The column chunks of these columns in a row group."""
    for place in range(group.num_columns):
        chunk = group.column(place)
        if chunk.path_in_schema.split(".")[0] in columns:
            yield chunk
