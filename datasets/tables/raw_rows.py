"""What a file reader hands on: rows as they stand in the file, and where each of them stands."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa


class RawRows(NamedTuple):
    """Some rows of one file, its own columns and types.

    `numbers[i]` is where row i of `batch` stands: the row from 1 in Parquet, the line from 1 in CSV.
    `refused` lists rows that are no rows of this table, as (number, reason); they are not in `batch`.
    """

    batch: pa.RecordBatch
    file: str
    numbers: Sequence[int]
    refused: Sequence[tuple[int, str]] = ()


def file_name(path: Path) -> str:
    """The name of a file as text that can be stored; bytes of it that are no UTF-8 become U+FFFD."""
    return os.fsencode(path.name).decode("utf-8", "replace")
