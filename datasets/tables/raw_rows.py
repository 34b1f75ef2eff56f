"""The output of the file readers: rows as in the file, with the place of each."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa


class RawRows(NamedTuple):
    """Some rows of one file, with the file's own columns and types.

    `numbers[i]` is the place of row i of `batch`: in Parquet and XML the row, in CSV the line, from 1.
    `refused` lists malformed rows as (number, reason); they are not in `batch`.
    """

    batch: pa.RecordBatch
    file: str
    numbers: Sequence[int]
    refused: Sequence[tuple[int, str]] = ()


def file_name(path: Path) -> str:
    """The name of a file as valid text; bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path.name).decode("utf-8", "replace")
