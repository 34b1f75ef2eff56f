"""Checks of vectors made elsewhere: the usable rows of a file as unit vectors, and why others are not."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from mmprod.datasets.embeddings.vector_files import Batch, Modality, VectorFile
from mmprod.datasets.tables.columns import ids as usable_ids
from mmprod.storage.errors import InputError

LEFT_OUT = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the file, from 1
        pa.field("product_id", pa.string()),
        pa.field("modality", pa.string()),  # "image" or "text"; null if the row was left out as a whole
        pa.field("reason", pa.string(), nullable=False),
    ]
)
_TOLD = 5  # repeated ids in the message

Vectors = dict[Modality, dict[str, np.ndarray]]
"""float16 [width] of unit length, by modality and product id."""


_Left = tuple[int, str | None, str | None, str]
"""Row of the batch, id, modality, reason."""


class Checked(NamedTuple):
    """A batch's usable vectors, and the rows that were left out, schema LEFT_OUT."""

    vectors: Vectors
    left_out: pa.RecordBatch


@dataclass
class Checker:
    """Checks a file batch by batch.

    `known`: which of some ids are in the store. `width`: that of the vectors, once one was seen. `reasons`:
    counts of what was left out.
    """

    file: VectorFile
    known: Callable[[Collection[str]], Collection[str]]
    width: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    _hashes: list[np.ndarray] = field(default_factory=list)

    def check(self, batch: Batch) -> Checked:
        """Check a batch. Raises: InputError for vectors of different widths."""
        names, left = self._names(batch.ids)
        vectors: Vectors = {}
        for modality, column in batch.vectors.items():
            vectors[modality], unusable = self._vectors(batch, modality, column, names)
            left += [(row, names[row], modality, reason) for row, reason in unusable]
        self.reasons.update(reason for *_, reason in left)
        return Checked(vectors, _listed(batch.first, left))

    def _names(self, column: pa.Array) -> tuple[list[str | None], list[_Left]]:
        """The ids in the store, None for the other rows; and why these are left out."""
        ids, bad = usable_ids(column)
        names: list[str | None] = ids.to_pylist()
        left: list[_Left] = []

        def leave_out(row: int, reason: str) -> None:
            left.append((row, names[row], None, reason))
            names[row] = None

        for reason, mask in bad.items():
            for row in np.flatnonzero(mask).tolist():
                leave_out(row, reason)
        given = [name for name in names if name is not None]
        self._hashes.append(np.array(list(map(_hash, given)), np.uint64))
        known = self.known(given)
        for row, name in enumerate(names):
            if name is not None and name not in known:
                leave_out(row, "not_in_store")
        return names, left

    def _vectors(
        self, batch: Batch, modality: Modality, column: pa.Array, names: list[str | None]
    ) -> tuple[dict[str, np.ndarray], list[tuple[int, str]]]:
        """The usable vectors of the rows that have a name; the other rows of these with their reasons."""
        present = column.is_valid().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(present & np.array([name is not None for name in names], bool))
        given = column.take(pa.array(rows))
        self._check_widths(batch, modality, given, rows)
        matrix, finite, zero = unit(_matrix(given, self.file.floats).reshape(len(rows), self.width))
        found = {
            names[row]: matrix[place] for place, row in enumerate(rows) if finite[place] and not zero[place]
        }
        unusable = [(int(row), "not_finite") for row in rows[~finite]]
        return found, [*unusable, *((int(row), "zero") for row in rows[zero])]  # type: ignore[return-value]

    def _check_widths(self, batch: Batch, modality: Modality, given: pa.Array, rows: np.ndarray) -> None:
        widths = _widths(given, self.file.floats)
        if len(broken := np.flatnonzero(widths % 1)):
            raise InputError(
                f"{self.file.path}: the bytes of row {batch.first + int(rows[broken[0]]):,} are no "
                f"{self.file.floats} numbers: name the column of vectors with --column, or their kind with "
                "--floats; nothing was imported"
            )
        if len(widths) and not self.width:
            self.width = int(widths[0])
        if len(other := np.flatnonzero((widths != self.width) | (widths == 0))):
            row, width = batch.first + int(rows[other[0]]), widths[other[0]]
            raise InputError(
                f"{self.file.path}: the {modality} vector of row {row:,} has {width:g} numbers, the first "
                f"vector {self.width}: all vectors of an encoder have one width; nothing was imported"
            )

    def check_repeated(self) -> None:
        """Once all batches were checked: raise InputError if an id is in several rows."""
        hashes = np.sort(np.concatenate(self._hashes)) if self._hashes else np.empty(0, np.uint64)
        suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        rows = _rows_of(self.file, suspects) if suspects else {}
        if repeated := {name: places for name, places in rows.items() if len(places) > 1}:
            some = "; ".join(
                f"{n!r} in rows {', '.join(map(str, p))}" for n, p in list(repeated.items())[:_TOLD]
            )
            raise InputError(
                f"{self.file.path}: {len(repeated):,} ids are in several rows, such as {some}: which of the "
                "vectors is right can't be told; nothing was imported"
            )


def unit(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float [n, d] to float16 [n, d] of unit length; bool [n]: which rows are finite, and which are zero.

    Rows are scaled by their largest number first, so that no square overflows or vanishes.
    """
    matrix = matrix if matrix.dtype == np.float64 else matrix.astype(np.float32)
    largest = np.abs(matrix).max(axis=1, initial=0)
    finite, zero = np.isfinite(largest), largest == 0
    scale = np.where(finite & ~zero, largest, 1)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (matrix / scale).astype(np.float32)
        norm = np.linalg.norm(scaled, axis=1, keepdims=True)
        return (scaled / np.where(norm == 0, 1, norm)).astype(np.float16), finite, zero


def _matrix(column: pa.Array, floats: str) -> np.ndarray:
    """The numbers of a column without nulls, one after the other; missing ones are NaN."""
    if _is_bytes(column):
        return np.frombuffer(b"".join(column.to_pylist()), np.dtype(floats).newbyteorder("<"))
    found: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
    return found


def _widths(column: pa.Array, floats: str) -> np.ndarray:
    """How many numbers each value of a column without nulls has; of bytes perhaps no whole number."""
    if _is_bytes(column):
        lengths: np.ndarray = pc.binary_length(column).to_numpy(zero_copy_only=False)
        return lengths / np.dtype(floats).itemsize
    if pa.types.is_fixed_size_list(column.type):
        return np.full(len(column), column.type.list_size)
    found: np.ndarray = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    return found


def _is_bytes(column: pa.Array) -> bool:
    return not (pa.types.is_nested(column.type))


def _rows_of(file: VectorFile, hashes: Collection[int]) -> dict[str, list[int]]:
    """The rows of the ids with these hashes."""
    found: dict[str, list[int]] = defaultdict(list)
    for batch in file.batches():
        for row, name in enumerate(usable_ids(batch.ids)[0].to_pylist(), batch.first):
            if name and _hash(name) in hashes:
                found[name].append(row)
    return found


def _listed(first: int, left: Sequence[_Left]) -> pa.RecordBatch:
    """Schema LEFT_OUT; `first`: the number of the batch's first row."""
    rows = [dict(zip(LEFT_OUT.names, (first + row, *told), strict=True)) for row, *told in left]
    return pa.RecordBatch.from_pylist(rows, schema=LEFT_OUT)


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode())
