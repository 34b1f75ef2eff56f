"""Parts: rows of one shard that were encoded outside the embedding table, to be merged into it later.

    lake/embeddings/<encoder>/parts/<restarts>-<shard>-<start>-<end>.parquet

A part holds the changes of a store shard between two sequence numbers. It can be merged only if the table's
position in the shard equals the part's start and the table has not restarted since. A part appears completely
or not at all. A shard is divided into parts of a fixed length, so that a dying process loses at most one.
"""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.store.checked_values import none_missing
from mmprod.datasets.store.store import Store
from mmprod.storage import fencing, parquet
from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder, sync_file


class Span(NamedTuple):
    """A range of changes of a shard: sequence numbers over `start`, up to `end`."""

    shard: int
    start: int
    end: int


def spans(table: EmbeddingTable, shard: int, end: int, length: int) -> Iterator[Span]:
    """The changes of a shard that the table lacks, up to `end`, as spans of `length`; deterministic."""
    start = table.pointer.position[shard]
    for first in range(start, end, length):
        yield Span(shard, first, min(first + length, end))


def path(table: EmbeddingTable, span: Span) -> Path:
    """The file of a span's part."""
    name = f"{table.pointer.restarts}-{span.shard}-{span.start}-{span.end}.parquet"
    return table.root / "parts" / name


def write(table: EmbeddingTable, span: Span, batches: Iterator[pa.RecordBatch]) -> int:
    """Write a part from rows of the table's schema; returns the number of rows.

    Raises: StateError when a later attempt has taken over, or the table has passed the span meanwhile.
    """
    target = path(table, span)
    make_folder(target.parent)
    draft = _draft(target)
    rows = parquet.write(draft, batches, table.schema)
    _publish(draft, target)
    return rows


def put(table: EmbeddingTable, span: Span, file: Path) -> None:
    """Put a copy of a file that was written elsewhere in the place of a span's part."""
    target = path(table, span)
    make_folder(target.parent)
    draft = _draft(target)
    shutil.copyfile(file, draft)
    _publish(draft, target)


def _draft(target: Path) -> Path:
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.draft")  # a lost node may write it too


def _publish(draft: Path, target: Path) -> None:
    with fencing.publishing():
        try:
            sync_file(draft)
            draft.replace(target)
        except FileNotFoundError as error:
            raise StateError(
                f"{target} is no longer needed, the table has come past it; run again"
            ) from error
        sync_file(target.parent)


def take(table: EmbeddingTable, store: Store, commit_rows: int) -> int:
    """Merge the matching parts into the table and delete all parts; returns the number of rows.

    The caller holds the lake's lock. If the process dies while merging a part, the next call starts that part
    again.
    """
    rows = 0
    found = [(_span(file), file) for file in (table.root / "parts").glob("[0-9]*.parquet")]
    for span, file in sorted(found, key=lambda f: (f[0].shard, f[0].start, -f[0].end)):  # the longest first
        if file == path(table, span) and table.pointer.position[span.shard] == span.start:
            rows += _take(table, store, span, file, commit_rows)
        file.unlink()
    for draft in (table.root / "parts").glob(".*-*-*.draft"):
        current = draft.name.startswith(f".{table.pointer.restarts}-")
        if not current or _span(draft).start < table.pointer.position[_span(draft).shard]:
            draft.unlink()  # left by a process that died
    return rows


def _span(file: Path) -> Span:
    """The span of a part or its draft, from the file name."""
    shard, start, end = file.name.strip(".").partition(".")[0].split("-")[-3:]
    return Span(int(shard), int(start), int(end))


def _take(table: EmbeddingTable, store: Store, span: Span, file: Path, commit_rows: int) -> int:
    rows = 0
    for batch in _batches(file, commit_rows):
        fitting = table.completed(batch).filter(_unchanged(store, span, batch["product_id"].to_pylist()))
        table.upsert(pa.Table.from_batches([fitting], table.schema), table.pointer.position)
        rows += fitting.num_rows
    position = list(table.pointer.position)
    position[span.shard] = span.end
    table.upsert(table.schema.empty_table(), position)
    return rows


def _unchanged(store: Store, span: Span, ids: list[str]) -> pa.Array:
    """Booleans: which products have not changed since the span.

    The others belong to a later span. That span was encoded without knowledge of this part: for a product
    that this part adds and it removes, it holds no removal. So such rows must not be merged.
    """
    shard, keys = store.shards[span.shard], [product_id.encode() for product_id in ids]
    states = none_missing(shard.folder, "states", keys, shard.states(sorted(keys)))
    return pa.array([states[key].sequence <= span.end for key in keys])


def _batches(file: Path, rows: int) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(file, page_checksum_verification=True).iter_batches(rows)
    except (OSError, pa.ArrowException) as error:
        raise StateError(
            f"{file} can't be read: {error}; remove it, and its shard is encoded again"
        ) from error
