"""Parquet with page checksums, so that a flipped byte is detected when the file is read."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.storage.errors import StateError


def write(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write batches to a file one by one; returns the number of rows. The caller syncs the file."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def to_bytes(table: pa.Table) -> bytes:
    """A small table as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read(path: Path) -> pa.Table:
    """Read a whole (small) table; StateError when the file is missing or damaged."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:  # read_table would import pandas
            return file.read()
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"{path} can't be read: {error}") from error
