"""Parquet files, one or a folder of them, streamed: never a whole table in memory."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets.errors import InputError
from mmprod.datasets.raw_rows import RawRows

_BATCH_BYTES = 32_000_000  # the reader itself holds about three times as much


class ParquetTable:
    """Parquet files with the same columns, read one after the other in the order given."""

    def __init__(self, files: list[Path]) -> None:
        """Read every footer. Raises: InputError where one can't be, columns differ, or there is no row."""
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
        """The rows, with these columns, `batch_rows` at a time (fewer where they are very long).

        Raises: InputError, naming the file, where its pages are damaged.
        """
        for path in self.files:
            number = 1
            try:
                with _open(path) as file:
                    rows = _fitting(file.metadata, columns, batch_rows)
                    for batch in file.iter_batches(rows, columns=columns):
                        yield RawRows(batch, path.name, range(number, number + batch.num_rows))
                        number += batch.num_rows
                    if number - 1 != file.metadata.num_rows:
                        raise InputError(
                            f"{path} has {number - 1} rows, its footer says {file.metadata.num_rows}"
                        )
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"{path} is damaged after row {number - 1}: {error}") from error

    def _footer(self, path: Path) -> tuple[pa.Schema, int]:
        try:
            with _open(path) as file:
                return file.schema_arrow, file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} is not a complete Parquet file: {error}") from error


def _open(path: Path) -> pq.ParquetFile:
    # pre_buffer would hold the pictures of a whole row group.
    return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=1 << 20)


def _check_same(first: pa.Schema, other: pa.Schema, first_path: Path, other_path: Path) -> None:
    wanted, found = ({field.name: field.type for field in schema} for schema in (first, other))
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"column {name!r} is {wanted.get(name, 'missing')} in {first_path} but"
                f" {found.get(name, 'missing')} in {other_path}; the files of a folder must be alike"
            )


def _fitting(metadata: pq.FileMetaData, columns: list[str], batch_rows: int) -> int:
    """`batch_rows`, or as many rows as come to about _BATCH_BYTES."""
    size = 0
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        for place in range(chunks.num_columns):
            chunk = chunks.column(place)
            if chunk.path_in_schema.split(".")[0] in columns:
                size += chunk.total_uncompressed_size
    row_bytes = size / max(metadata.num_rows, 1)
    return max(1, min(batch_rows, int(_BATCH_BYTES / max(row_bytes, 1))))
