"""What a file reader hands on: rows as they stand in the file, and where each of them stands."""

from collections.abc import Sequence
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
