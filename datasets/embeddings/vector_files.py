"""Files of vectors made elsewhere: Parquet, Lance, or a NumPy array beside a file of ids; read in batches."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets.lazy import lazy
from mmprod.storage.errors import InputError

lance = lazy("lance")  # half a second to import, and only files of its format need it

Modality = Literal["image", "text"]
Floats = Literal["float16", "float32", "float64"]
MODALITIES: tuple[Modality, ...] = ("image", "text")
BATCH_BYTES = 64 << 20
_PARQUET, _LANCE, _ARRAY = (".parquet", ".pq"), ".lance", ".npy"


class Batch(NamedTuple):
    """Rows of a file: `first` is the number of the first one, from 1."""

    first: int
    ids: pa.Array
    vectors: dict[Modality, pa.Array]  # lists of floats, or bytes


@dataclass(frozen=True)
class VectorFile:
    """A file of vectors by product id.

    `ids`: the file of the ids of an array: a text file (an id a line), .npy or Parquet, in the order of its
    rows. `id_column`: the column of the ids. `column`: the column of the vectors, which are of `modality`; if
    it is not given, the columns "image" and "text" are read, or else the only column of vectors there is.
    `modality`: default image. `floats`: the type of the numbers in columns of bytes, little-endian.
    """

    path: Path
    ids: Path | None = None
    id_column: str = "product_id"
    column: str | None = None
    modality: Modality | None = None
    floats: Floats = "float32"

    @cached_property
    def rows(self) -> int:
        """The number of rows. Raises: as `batches`."""
        if self._is_array:
            return len(self._array)
        return self._lance.count_rows() if self._is_lance else sum(self._footer(f)[1] for f in self._files)

    @cached_property
    def columns(self) -> dict[Modality, str]:
        """The columns of vectors, by what they are of. Raises: InputError if they can't be told."""
        if self._is_array:
            return {self.modality or "image": self.path.name}
        schema = self._schema
        if self.id_column not in schema.names:
            raise InputError(f"{self.path} has no column {self.id_column!r} of ids (--id): {_told(schema)}")
        if self.column is not None:
            if self.column not in schema.names:
                raise InputError(f"{self.path} has no column {self.column!r}: {_told(schema)}")
            return {self.modality or "image": self.column}
        usable = [field.name for field in schema if _is_vector(field.type) and field.name != self.id_column]
        if named := [m for m in MODALITIES if m in usable and self.modality in (None, m)]:
            return {modality: modality for modality in named}
        if len(usable) != 1:
            raise InputError(f"{self.path}: which column holds the vectors (--column)? {_told(schema)}")
        return {self.modality or "image": usable[0]}

    @property
    def stamp(self) -> str:
        """A hash of paths, sizes and times: another one if a file was changed meanwhile."""
        files = [*self._files, *([self.ids] if self.ids else [])]
        seen = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    def batches(self, rows: int = 10_000) -> Iterator[Batch]:
        """All rows in order, `rows` at a time, fewer if the vectors are wide.

        Raises: InputError, naming the file, if it is missing, incomplete or of another kind, if a column is
        missing or holds no floats, or if there are not as many ids as vectors.
        """
        wanted, first = self.columns, 1
        try:
            for batch in self._read_array(rows) if self._is_array else self._read_columns(rows):
                yield Batch(first, batch[self.id_column], {m: batch[name] for m, name in wanted.items()})
                first += batch.num_rows
        except (OSError, ValueError, pa.ArrowException) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path} can't be read: {error}") from error

    def _read_columns(self, rows: int) -> Iterator[pa.RecordBatch]:
        names = [self.id_column, *self.columns.values()]
        for name in names[1:]:
            if not _is_vector(kind := self._schema.field(name).type):
                raise InputError(
                    f"{self.path}: column {name!r} is {kind}, want lists of float16, float32 or float64"
                )
        if self._is_lance:
            yield from self._lance.scanner(columns=names, batch_size=rows, scan_in_order=True).to_batches()
            return
        for path in self._files:
            with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
                yield from file.iter_batches(_fitting(file.metadata, rows), columns=names)

    def _read_array(self, rows: int) -> Iterator[pa.RecordBatch]:
        array, start = self._array, 0
        rows = max(1, min(rows, BATCH_BYTES // max(1, array[:1].nbytes)))
        for ids in self._ids_of_array(rows):
            part = np.ascontiguousarray(array[start : start + len(ids)], array.dtype.newbyteorder("="))
            if len(part) < len(ids):
                raise InputError(f"{self.ids} has more ids than the {len(array):,} vectors of {self.path}")
            values = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), array.shape[1])
            yield pa.RecordBatch.from_arrays([ids, values], names=[self.id_column, self.path.name])
            start += len(ids)
        if start < len(array):
            raise InputError(f"{self.ids} has {start:,} ids for the {len(array):,} vectors of {self.path}")

    def _ids_of_array(self, rows: int) -> Iterator[pa.Array]:
        if self.ids is None:
            raise InputError(f"{self.path} holds no ids: name a file of them (--ids), one for each vector")
        if self.ids.suffix == _ARRAY:
            names = _load(self.ids)
            if names.ndim != 1 or names.dtype.kind not in "UiuS":
                raise InputError(
                    f"{self.ids} is {names.dtype}{list(names.shape)}, want one id for each vector"
                )
            for start in range(0, len(names), rows):
                yield pa.array(names[start : start + rows].astype(str))
        elif self.ids.suffix in _PARQUET:
            with pq.ParquetFile(self.ids, page_checksum_verification=True) as file:
                if self.id_column not in file.schema_arrow.names:
                    raise InputError(f"{self.ids} has no column {self.id_column!r} of ids (--id)")
                for batch in file.iter_batches(rows, columns=[self.id_column]):
                    yield batch[self.id_column]
        else:
            yield from _lines(self.ids, rows)

    @cached_property
    def _array(self) -> np.ndarray:
        array = _load(self.path)
        if array.ndim != 2 or array.dtype.kind != "f" or array.itemsize > 8 or not array.shape[1]:
            raise InputError(
                f"{self.path} is {array.dtype}{list(array.shape)}, want a row of floats for each product"
            )
        return array

    @property
    def _is_array(self) -> bool:
        return self.path.suffix == _ARRAY

    @property
    def _is_lance(self) -> bool:
        return self.path.suffix == _LANCE

    @cached_property
    def _files(self) -> list[Path]:
        inside = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        if self._is_lance:
            files = [path for path in inside if path.is_file()]
        else:
            files = [path for path in inside if path.suffix in (*_PARQUET, _ARRAY)]
        if not self.path.exists():
            raise InputError(f"{self.path} is not there; name a file of vectors")
        if not files:
            raise InputError(f"{self.path}: want a file .parquet or .npy, a folder of .parquet, or .lance")
        return files

    @cached_property
    def _schema(self) -> pa.Schema:
        return self._lance.schema if self._is_lance else self._footer(self._files[0])[0]

    @cached_property
    def _lance(self) -> Any:
        try:
            return lance.dataset(self._files and self.path)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} can't be read: {error}") from error

    def _footer(self, path: Path) -> tuple[pa.Schema, int]:
        try:
            with pq.ParquetFile(path) as file:
                return file.schema_arrow, file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} is not a complete Parquet file: {error}") from error


def _load(path: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not a complete NumPy array: {error}") from error
    return found


def _lines(path: Path, rows: int) -> Iterator[pa.Array]:
    """The lines of a text file."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            names: list[str] = []
            for line in file:
                names.append(line.rstrip("\r\n"))
                if len(names) == rows:
                    yield pa.array(names, pa.string())
                    names = []
            if names:
                yield pa.array(names, pa.string())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8: {error}") from error


def _is_vector(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return bool(types.is_floating(kind.value_type))
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _fitting(metadata: pq.FileMetaData, rows: int) -> int:
    """So many rows that they take at most about BATCH_BYTES."""
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(1, min(rows, int(BATCH_BYTES * metadata.num_rows // max(1, size))))


def _told(schema: pa.Schema) -> str:
    return "it has " + ", ".join(f"{field.name} ({field.type})" for field in schema)
