"""What the readers of Parquet, Arrow, Delta Lake and Iceberg share: batches of bounded size, read ahead."""

import errno
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.tables.raw_rows import RawRows
from mmprod.storage.errors import InputError, shortage

BATCH_BYTES = 32_000_000
"""About the most bytes of a batch; the reader of a file holds about three times as much."""
EMPTY = "has no rows; an empty table is refused, it would remove every product"
_AHEAD = 2  # batches

Item = TypeVar("Item")
Sizes = npt.NDArray[np.int64]


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items in their order; a thread makes up to two of them while the caller works on another.

    An exception of `items` is raised in its place. If the caller stops early, the thread stops, too.
    """
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        waiting: deque[Future[tuple[Item] | None]] = deque()
        try:
            waiting.extend(pool.submit(_next, items) for _ in range(_AHEAD))
            while found := waiting.popleft().result():
                waiting.append(pool.submit(_next, items))
                yield found[0]
        finally:
            for future in waiting:
                future.cancel()


def _next(items: Iterator[Item]) -> tuple[Item] | None:
    for item in items:
        return (item,)
    return None


def rows_of(path: Path, name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[RawRows]:
    """The rows of a file, numbered from 1; `name` is its name below the table's path.

    Raises: InputError, naming the file, if its content is damaged.
    """
    number = 1
    try:
        for batch in batches:
            yield RawRows(batch, name, range(number, number + batch.num_rows))
            number += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise_own(error)
        raise InputError(f"{path} is damaged after row {number - 1}: {error}") from error


def plain(field: pa.Field) -> pa.Field:
    """The field with the value type of its dictionary, if it is one or a list of one."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        return field.with_type(kind.value_type)
    if pa.types.is_list(kind):
        return field.with_type(pa.list_(plain(kind.value_field)))
    if pa.types.is_large_list(kind):
        return field.with_type(pa.large_list(plain(kind.value_field)))
    return field


def folded_bytes(batch: pa.RecordBatch) -> Sizes:
    """Bytes that the values of each row's dictionaries take once expanded, int64 [n]."""
    return _sum((one for one in batch.columns if pa.types.is_dictionary(one.type)), batch.num_rows)


def row_bytes(batch: pa.RecordBatch) -> Sizes:
    """Bytes that each row takes once its dictionaries are expanded, int64 [n]."""
    return _sum(batch.columns, batch.num_rows)


def _sum(columns: Iterable[pa.Array], rows: int) -> Sizes:
    total = np.zeros(rows, np.int64)
    for column in columns:
        total += _value_bytes(column)
    return total


def _value_bytes(column: pa.Array) -> Sizes:
    kind, types = column.type, pa.types
    found: Sizes
    if types.is_dictionary(kind):
        own = np.append(_value_bytes(column.dictionary), 0)  # the last one is for null
        indices = column.indices.cast(pa.int64()).fill_null(len(own) - 1)
        found = own[indices.to_numpy(zero_copy_only=False)]
        return found
    if types.is_list(kind) or types.is_large_list(kind):
        ends = np.cumsum(_ints(pc.list_value_length(column)))
        upto = np.append(0, np.cumsum(_value_bytes(column.flatten())))
        found = np.diff(upto[np.append(0, ends)])
        return found
    if types.is_struct(kind):
        return _sum(column.flatten(), len(column))
    try:
        return _ints(pc.binary_length(column))
    except pa.ArrowNotImplementedError:  # no text or bytes: taken to be equally long
        return np.full(len(column), column.nbytes // max(len(column), 1), np.int64)


def _ints(values: pa.Array) -> Sizes:
    found: Sizes = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return found


def unfolded(
    batches: Iterator[pa.RecordBatch],
    wanted: pa.Schema,
    most: int = BATCH_BYTES,
    lengths: Callable[[pa.RecordBatch], Sizes] = row_bytes,
) -> Iterator[pa.RecordBatch]:
    """The rows in parts of about `most` bytes by `lengths`, in the columns and types of `wanted`."""
    for batch in batches:
        batch, start = batch.select(wanted.names), 0
        sizes = lengths(batch)
        while start < batch.num_rows:
            rows = max(1, int(np.searchsorted(np.cumsum(sizes[start:]), most)))
            columns = zip(batch.slice(start, rows).columns, wanted.types, strict=True)
            arrays = [column.cast(kind) if column.type != kind else column for column, kind in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=wanted)
            start += rows


def together(parts: Iterator[pa.RecordBatch], rows: int, most: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Small parts concatenated, up to `rows` rows or about `most` bytes."""
    held, count, size = list[pa.RecordBatch](), 0, 0
    for part in parts:
        count, size = count + part.num_rows, size + part.nbytes
        if held and (count > rows or size > most):
            yield _one(held)
            held, count, size = [], part.num_rows, part.nbytes
        held.append(part)
    if held:
        yield _one(held)


def _one(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)  # concat_batches copies


def check_same(first: pa.Schema, other: pa.Schema, first_path: object, other_path: object) -> None:
    """Raise InputError, naming a column, when two files of a folder have different columns."""
    wanted, found = ({field.name: field.type for field in schema} for schema in (first, other))
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"column {name!r} is {wanted.get(name, 'missing')} in {first_path} but"
                f" {found.get(name, 'missing')} in {other_path}; all files of a folder need equal columns"
            )


def raise_own(error: Exception) -> None:
    """Raise a lack of memory or file descriptors, or a disk error: neither means that the file is damaged."""
    if own := shortage(error):
        raise own from None
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EINVAL):
        raise error
