"""The output of the file readers: rows as in the file, with the place of each."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt
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


class RowSources(Sequence[str]):
    """``file:row`` of each row of a batch; the texts are made when they are asked for, as few are."""

    def __init__(self, file: str, numbers: Sequence[int]) -> None:
        self._file, self._numbers = file, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "RowSources": ...
    def __getitem__(self, place: int | slice) -> "str | RowSources":
        if isinstance(place, slice):
            return RowSources(self._file, self._numbers[place])
        return f"{self._file}:{self._numbers[place]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def where(self, chosen: npt.NDArray[np.bool_]) -> "RowSources":
        """The sources of the rows marked in `chosen`."""
        return RowSources(self._file, np.asarray(self._numbers)[chosen].tolist())


def file_name(path: Path) -> str:
    """The name of a file as valid text; bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path.name).decode("utf-8", "replace")
