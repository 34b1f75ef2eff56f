"""Streaming reader of Arrow IPC files and streams (.arrow, .feather, .ipc), one or a folder of them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.tables.arrow_messages import Message, NotArrow, is_file, messages
from mmprod.datasets.tables.columnar import (
    EMPTY,
    ahead,
    check_same,
    plain,
    raise_own,
    rows_of,
    together,
    unfolded,
)
from mmprod.datasets.tables.partitions import (
    name_below,
    partition_of,
    with_partition,
    with_partition_fields,
)
from mmprod.datasets.tables.raw_rows import RawRows
from mmprod.storage.errors import InputError

MOST_BYTES = 1_000_000_000
"""The most bytes that a record batch may decode to; it is in memory as a whole."""
_FEATHER_1 = b"FEA1"


class ArrowTable:
    """Arrow files or streams with the same columns, read one after the other in the given order.

    As with `ParquetTable`, the folders between `root` and a file give it further columns.
    """

    def __init__(self, files: list[Path], root: Path | None = None) -> None:
        """Read every header.

        Raises: InputError, naming the file, if one is no complete Arrow file, has too large a batch or other
        columns than the first, or if there is no row.
        """
        self.files = files
        self._root = root
        self._rows: dict[Path, int] = {}
        self.schema = self._schema(files[0])
        self.rows = 0
        for path in files:
            check_same(self.schema, self._schema(path), files[0], path)
            self._rows[path] = _rows(path)
            self.rows += self._rows[path]
        if not self.rows:
            raise InputError(f"{files[0]} {EMPTY}")

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows with these columns, `batch_rows` at a time (fewer if they are very long), read ahead.

        Raises: InputError, naming the file, if its content is damaged.
        """
        return ahead(self._read(columns, batch_rows))

    def _read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        for path in self.files:
            read = 0
            for rows in rows_of(path, name_below(self._root, path), self._batches(path, columns, batch_rows)):
                read += rows.batch.num_rows
                yield rows
            if read != self._rows[path]:
                raise InputError(f"{path} has {read} rows, its headers say {self._rows[path]}")

    def _batches(self, path: Path, columns: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        with _open(path) as reader:
            own = reader.schema.names
        given = partition_of(self._root, path).items()
        further = {name: value for name, value in given if name in columns and name not in own}
        columns = [name for name in columns if name in own] or own[:1]
        wanted = pa.schema([field for field in self.schema if field.name in columns])
        parts = unfolded(_cut(_checked(path, [own.index(name) for name in columns]), batch_rows), wanted)
        for batch in together(parts, batch_rows):
            yield with_partition(batch, further)

    def _schema(self, path: Path) -> pa.Schema:
        try:
            with _open(path) as reader:
                own = [plain(field) for field in reader.schema]
                schema = with_partition_fields(own, self._root, path)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise_own(error)
            raise InputError(f"{path} is not a complete Arrow file: {_why(path, error)}") from error
        for field in own:
            if _hides_dictionary(field.type):
                raise InputError(
                    f"{path}: column {field.name!r} has a dictionary within a struct or map; write values"
                )
        return schema


def _rows(path: Path) -> int:
    """The rows of a file, by its headers. Raises: InputError if it is incomplete or a batch is too large."""
    rows = 0
    try:
        for number, message in enumerate(messages(path), 1):
            _check_size(path, number, message)
            rows += message.rows
    except NotArrow as error:
        raise InputError(f"{path} is not a complete Arrow file: it {error}") from error
    return rows


def _check_size(path: Path, number: int, message: Message) -> None:
    if not 0 <= message.decoded <= MOST_BYTES:
        raise InputError(
            f"{path}: its record batch or dictionary number {number} decodes to {message.decoded:,} bytes, "
            f"at most {MOST_BYTES:,} are read at once; write it in smaller batches (pyarrow: max_chunksize; "
            "polars: record_batch_size)"
        )


def _open(
    path: Path, columns: list[int] | None = None
) -> pa.RecordBatchReader | pa.ipc.RecordBatchFileReader:
    """Open a file or stream, in which only the columns with these numbers are decoded."""
    options = pa.ipc.IpcReadOptions(included_fields=columns)
    source = pa.OSFile(str(path))  # not mapped into memory: reading a shortened map would end the process
    return (pa.ipc.open_file if is_file(path) else pa.ipc.open_stream)(source, options=options)


def _checked(path: Path, columns: list[int]) -> Iterator[pa.RecordBatch]:
    """The record batches as they are in the file, whose offsets and indices have been checked."""
    with _open(path, sorted(columns)) as reader:
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            batches = iter(reader)
        for batch in batches:
            batch.validate(full=True)
            yield batch


def _cut(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _hides_dictionary(kind: pa.DataType) -> bool:
    """Whether a struct or map holds a dictionary, whose size once expanded is not known."""
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return any(pa.types.is_dictionary(one) or _hides_dictionary(one) for one in inner)


def _why(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        if file.read(4) == _FEATHER_1:
            return "it is Feather version 1; write version 2"
    return str(error)
