"""Streaming reader of Parquet files, one or a folder of them; a whole table is never in memory."""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmprod.datasets.tables.dictionary_page import longest_value
from mmprod.datasets.tables.raw_rows import RawRows, file_name
from mmprod.storage.errors import InputError, shortage

_BATCH_BYTES = 32_000_000  # the reader itself holds about three times as much
_NESTED_BYTES = 4 * _BATCH_BYTES  # most bytes of long values inside lists or maps
_FEW_ROWS = 128  # least rows read at once when rows may share a long value inside lists or maps


class ParquetTable:
    """Parquet files with the same columns, read one after the other in the given order."""

    def __init__(self, files: list[Path]) -> None:
        """Read every footer. Raises: InputError if one is unreadable, columns differ, or there is no row."""
        self.files = files
        self.schema = self._footer(files[0])[0]
        self.rows = 0
        for path in files:
            schema, rows = self._footer(path)
            _check_same(self.schema, schema, files[0], path)
            self.rows += rows
        if not self.rows:
            raise InputError(
                f"{files[0]} has no rows; an empty table is refused, it would remove every product"
            )

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows with these columns, `batch_rows` at a time (fewer if they are very long).

        The file stores a value that many rows share only once. Such values are read as dictionaries, and
        expanded for as many rows at a time as amount to about _BATCH_BYTES.
        Raises: InputError, naming the file, if its pages are damaged.
        """
        for path in self.files:
            number = 1
            try:
                for batch in self._batches(path, columns, batch_rows):
                    yield RawRows(batch, file_name(path), range(number, number + batch.num_rows))
                    number += batch.num_rows
            except (OSError, pa.ArrowException) as error:
                _raise_own(error)
                raise InputError(f"{path} is damaged after row {number - 1}: {error}") from error

    def _batches(self, path: Path, columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a file in the table's own types, even if read as dictionaries."""
        with _open(path) as file:
            metadata = file.metadata
        rows = _fitting(metadata, columns, batch_rows)
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
            for batch in _together(_unfolded(batches, wanted), rows):
                read += batch.num_rows
                yield batch
        if read != metadata.num_rows:
            raise InputError(f"{path} has {read} rows, its footer says {metadata.num_rows}")

    def _footer(self, path: Path) -> tuple[pa.Schema, int]:
        try:
            with _open(path) as file:
                return pa.schema(list(map(_plain, file.schema_arrow))), file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            _raise_own(error)
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


def _plain(field: pa.Field) -> pa.Field:
    """The field with the value type of its dictionary, if it is one."""
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _raise_own(error: Exception) -> None:
    """Raise a lack of memory or file descriptors, or a disk error: neither means that the file is damaged."""
    if own := shortage(error):
        raise own from None
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
        raise error


def _unfolded(batches: Iterator[pa.RecordBatch], wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows in parts of about _BATCH_BYTES, with dictionaries expanded to their values."""
    for batch in batches:
        batch, start = batch.select(wanted.names), 0
        lengths = _row_bytes(batch)
        while start < batch.num_rows:
            rows = max(1, int(np.searchsorted(np.cumsum(lengths[start:]), _BATCH_BYTES)))
            columns = zip(batch.slice(start, rows).columns, wanted.types, strict=True)
            arrays = [column.cast(kind) if column.type != kind else column for column, kind in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=wanted)
            start += rows


def _row_bytes(batch: pa.RecordBatch) -> np.ndarray:
    """Bytes that the dictionary values of each row take once expanded, int64 [n]."""
    lengths = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            own = pc.binary_length(column.dictionary).fill_null(0).take(column.indices).fill_null(0)
            lengths += own.to_numpy(zero_copy_only=False)
    return lengths


def _together(parts: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Small parts concatenated, up to `rows` rows or about _BATCH_BYTES."""
    held, count, size = list[pa.RecordBatch](), 0, 0
    for part in parts:
        count, size = count + part.num_rows, size + part.nbytes
        if held and (count > rows or size > _BATCH_BYTES):
            yield _one(held)
            held, count, size = [], part.num_rows, part.nbytes
        held.append(part)
    if held:
        yield _one(held)


def _one(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)  # concat_batches copies


def _check_same(first: pa.Schema, other: pa.Schema, first_path: Path, other_path: Path) -> None:
    wanted, found = ({field.name: field.type for field in schema} for schema in (first, other))
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"column {name!r} is {wanted.get(name, 'missing')} in {first_path} but"
                f" {found.get(name, 'missing')} in {other_path}; all files of a folder need equal columns"
            )


def _fitting(metadata: pq.FileMetaData, columns: list[str], batch_rows: int) -> int:
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
