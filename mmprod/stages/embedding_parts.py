"""Rows of one shard that were encoded beside the embedding table and wait to be taken in.

    lake/embeddings/<encoder>/parts/<shard>-<start>-<end>.parquet

A part holds what changed in a shard of the store between two sequence numbers, and fits where the table has
come exactly to its start. It appears whole or not at all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets import fence, parquet
from mmprod.datasets.errors import StateError
from mmprod.datasets.files import sync_file
from mmprod.embedding_table import EmbeddingTable


class Span(NamedTuple):
    """Changes of a shard, after sequence number `start` up to `end`."""

    shard: int
    start: int
    end: int


def path(table: EmbeddingTable, span: Span) -> Path:
    """Where the part of a span lies."""
    return table.root / "parts" / f"{span.shard}-{span.start}-{span.end}.parquet"


def write(table: EmbeddingTable, span: Span, batches: Iterator[pa.RecordBatch]) -> int:
    """Write a part from rows of the table's schema; the number of rows."""
    target = path(table, span)
    target.parent.mkdir(exist_ok=True)
    draft = target.with_name(f".{span.shard}.draft")  # one attempt at a time: others are fenced off
    rows = parquet.write(draft, batches, table.schema)
    sync_file(draft)
    with fence.publishing():
        draft.replace(target)
        sync_file(target.parent)
    return rows


def take(table: EmbeddingTable, commit_rows: int) -> int:
    """Put the parts that fit into the table and remove all; the number of rows. The caller holds the lock.

    A process that dies half-way leaves the part, and the next one starts it again.
    """
    rows = 0
    for file in sorted((table.root / "parts").glob("[0-9]*.parquet")):
        span = Span(*map(int, file.stem.split("-")))
        if table.pointer.position[span.shard] == span.start:
            rows += _take(table, span, file, commit_rows)
        file.unlink()
    return rows


def _take(table: EmbeddingTable, span: Span, file: Path, commit_rows: int) -> int:
    rows = 0
    for batch in _batches(file, commit_rows):
        table.upsert(pa.Table.from_batches([batch], table.schema), table.pointer.position)
        rows += batch.num_rows
    position = list(table.pointer.position)
    position[span.shard] = span.end
    table.upsert(table.schema.empty_table(), position)
    return rows


def _batches(file: Path, rows: int) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(file, page_checksum_verification=True).iter_batches(rows)
    except (OSError, pa.ArrowException) as error:
        raise StateError(
            f"{file} can't be read: {error}; remove it, and its shard is encoded again"
        ) from error
