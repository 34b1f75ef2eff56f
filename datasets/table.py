"""The user's product table, Parquet or CSV, as batches of canonical rows and of refused ones."""

import hashlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mmprod.datasets.canonical import REASONS, Checked, check, complete
from mmprod.datasets.csv_table import CsvTable
from mmprod.datasets.errors import InputError
from mmprod.datasets.files import sha256_file
from mmprod.datasets.mapping import Sources, TableSpec, find_sources
from mmprod.datasets.parquet_table import ParquetTable
from mmprod.datasets.raw_rows import RawRows

__all__ = ["ProductTable", "RowRefused", "TableBatch", "TableSpec", "open_table"]

log = logging.getLogger(__name__)

_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".tsv", ".txt")
_FUTURE = timedelta(days=1)  # clocks and time zones differ by less
_PICTURES = {"image", "image_path", "image_url"}


class RowRefused(NamedTuple):
    """A row that can't be used: where it stands (``file:row``), its id where that is usable, and why."""

    source: str
    product_id: str | None
    reason: str


class TableBatch(NamedTuple):
    """Rows of a product table.

    `accepted` has the schema PRODUCT, and ``sources[i]`` is where its row i stands. Titles and pictures are
    as delivered. Every row read is either in `accepted` or in `refused`.
    """

    accepted: pa.RecordBatch
    sources: list[str]
    refused: list[RowRefused]


class ProductTable:
    """A product table that was checked when it was opened; made by `open_table`."""

    def __init__(self, files: ParquetTable | CsvTable, sources: Sources, latest: datetime) -> None:
        self._files = files
        self._sources = sources
        self._latest = latest
        self.rows: int | None = files.rows
        """The number of rows, where it is known without reading them all."""

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over the content of the table's files, in their order."""
        hashes = [sha256_file(path) for path in self._files.files]
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def batches(self, batch_rows: int = 10_000) -> Iterator[TableBatch]:
        """All rows, at most `batch_rows` at a time. Raises: InputError where a file is damaged further on.

        Reasons for a refusal are those of `canonical.REASONS` and, of CSV, `CsvTable.read`.
        """
        for raw in self._files.read(self._sources.all, batch_rows):
            checked = check(raw.batch, self._sources, self._latest)
            yield _split(raw, complete(raw.batch, self._sources, checked.values), checked)

    def identities(self, batch_rows: int = 10_000) -> Iterator[tuple[list[str], list[int | None]]]:
        """Ids and `updated_at` (µs since 1970, UTC) of the rows `batches` accepts, in the same order.

        Of Parquet, only the columns that decide on a row are read. Batches may be longer than those of
        `batches`, which get shorter where pictures are large.
        """
        few = self._sources.only_checked()
        for raw in self._files.read(few.all, batch_rows):
            values, refusal = check(raw.batch, few, self._latest)
            accepted = pa.array(refusal == 0)
            times = values.get("updated_at", pa.nulls(raw.batch.num_rows, pa.int64())).cast(pa.int64())
            yield values["product_id"].filter(accepted).to_pylist(), times.filter(accepted).to_pylist()


def open_table(path: Path, spec: TableSpec, now: datetime | None = None) -> ProductTable:
    """Open a Parquet file, a folder of them, or a CSV file, and check all that shows without reading on.

    Rows dated more than a day after `now` (default: the clock's) will be refused.
    Raises: InputError, naming the file, where one is missing, incomplete or of an unknown kind, has no rows,
    or where a column is missing, repeated or of a type that can't be converted.
    """
    files = _open_files(path, spec)
    sources = find_sources(files.schema, spec, str(path))
    if not _PICTURES & set(sources.columns):
        log.warning("%s has no column with pictures; map it in [table.columns] if it should", path)
    return ProductTable(files, sources, (now or datetime.now(UTC)) + _FUTURE)


def _open_files(path: Path, spec: TableSpec) -> ParquetTable | CsvTable:
    if path.is_dir():
        return ParquetTable(_parts(path))
    if not path.is_file():
        raise InputError(f"{path}: there is no such product table")
    if path.suffix.lower() in _PARQUET:
        return ParquetTable([path])
    if path.suffix.lower() in _CSV:
        return CsvTable(path, spec.encoding, spec.delimiter)
    raise InputError(
        f"{path}: a product table ends in {', '.join(_PARQUET + _CSV)} or is a folder of Parquet"
    )


def _parts(folder: Path) -> list[Path]:
    """The Parquet files of a folder by name; hidden ones and markers such as _SUCCESS are passed over."""
    parts = sorted(part for part in folder.iterdir() if not part.name.startswith((".", "_")))
    if not parts:
        raise InputError(f"{folder} holds no Parquet files")
    for part in parts:  # perhaps one that is still being uploaded: its products would be missed
        if not part.is_file() or part.suffix.lower() not in _PARQUET:
            raise InputError(f"{folder} holds {part.name}, which is no Parquet file; move it elsewhere")
    return parts


def _split(raw: RawRows, rows: pa.RecordBatch, checked: Checked) -> TableBatch:
    refused = [RowRefused(f"{raw.file}:{number}", None, reason) for number, reason in raw.refused]
    sources = [f"{raw.file}:{number}" for number in raw.numbers]
    bad = np.flatnonzero(checked.refusal)
    if bad.size:
        refused += [_refusal(rows, sources, row, REASONS[checked.refusal[row]]) for row in bad.tolist()]
        good = checked.refusal == 0
        rows, sources = rows.filter(pa.array(good)), list(compress(sources, good.tolist()))
    return TableBatch(rows, sources, refused)


def _refusal(rows: pa.RecordBatch, sources: list[str], row: int, reason: str) -> RowRefused:
    usable = not reason.startswith("id_")
    return RowRefused(sources[row], rows.column("product_id")[row].as_py() if usable else None, reason)
