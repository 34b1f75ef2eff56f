"""Reading a product table as batches of rows in schema `PRODUCT` and refused rows."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mmprod.datasets.ingest.delivery import Identities
from mmprod.datasets.tables.canonical import NAMED, REASONS, Checked, check, complete
from mmprod.datasets.tables.columns import mask
from mmprod.datasets.tables.mapping import SEPARATED, Sources, TableSpec, find_sources
from mmprod.datasets.tables.opening import Files, column_names, open_files
from mmprod.datasets.tables.raw_rows import RawRows, RowSources
from mmprod.datasets.tables.repeated import CombinedTable, check_whole
from mmprod.datasets.tables.snapshot import Pinned, Snapshot
from mmprod.datasets.tables.xml_table import SEPARATOR, XmlTable

__all__ = ["ProductTable", "RowRefused", "TableBatch", "TableSpec", "column_names", "open_table"]

log = logging.getLogger(__name__)

_TOLD = 40  # characters of an unreadable value that a message shows
_FUTURE = timedelta(days=1)  # clocks and time zones differ by less
_PICTURES = {"image", "image_path", "image_url"}


class RowRefused(NamedTuple):
    """A row that can't be used: its source (``file:row``), its id if that is usable, and the reason."""

    source: str
    product_id: str | None
    reason: str


class TableBatch(NamedTuple):
    """Rows of a product table.

    `accepted` has schema PRODUCT; ``sources[i]`` is the ``file:row`` of its row i. Titles and pictures are as
    delivered. Every row read is in `accepted`, or in `refused`, or counted in `merged` because it was merged
    into another row with the same id.

    `unread` lists unreadable figures of accepted rows, which are left out, as (row, ``column:value``).
    `plain_ids` is the number of ids stripped of blanks or spreadsheet quoting.
    """

    accepted: pa.RecordBatch
    sources: Sequence[str]
    refused: list[RowRefused]
    unread: list[tuple[int, str]]
    plain_ids: int
    merged: int = 0


class ProductTable:
    """A product table that was checked when it was opened; made by `open_table`."""

    def __init__(
        self, files: Files, sources: Sources, latest: datetime, snapshot: Snapshot | Pinned, whole_rows: bool
    ) -> None:
        self.files = files
        self.sources = sources
        self.whole_rows = whole_rows
        """Whether of several rows of an id, the newest is the product, whatever the others hold."""
        self._latest = latest
        self._snapshot = snapshot
        self.rows: int | None = files.rows
        """The number of rows, if known without reading them all, else None."""

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over the content of the table's files, in their order, or over what pins its version."""
        return self._snapshot.fingerprint

    def batches(self, batch_rows: int = 10_000) -> Iterator[TableBatch]:
        """All rows, at most `batch_rows` at a time.

        Rows are refused with a reason of `canonical.REASONS` (those in NAMED are followed by a colon and the
        value), or, for CSV, of `CsvTable.read`.
        Raises: InputError when a file is damaged further on, or has changed since it was opened; in that case
        no batch that was read after the change is yielded.
        """
        self._snapshot.check()
        for raw in self.files.read(self.sources.all, batch_rows):
            self._snapshot.check_file(raw.file)
            checked = check(raw.batch, self.sources, self._latest)
            yield self._split(raw, complete(raw.batch, self.sources, checked.values), checked)
        self._snapshot.check()

    def identities(self, batch_rows: int = 10_000) -> Iterator[Identities]:
        """Ids and times of the rows that `batches` accepts, in the same order.

        Of Parquet, only the columns that decide whether a row is accepted are read. Batches may be longer
        than those of `batches`, which are shorter when pictures are large. Raises as `batches` does.
        """
        few = self.sources.only_checked()
        self._snapshot.check()
        for raw in self.files.read(few.all, batch_rows):
            self._snapshot.check_file(raw.file)
            checked = check(raw.batch, few, self._latest)
            accepted = pa.array(checked.refusal == 0)
            nothing = pa.nulls(raw.batch.num_rows, pa.int64())
            times = checked.values.get("updated_at", nothing).cast(pa.int64()).filter(accepted)
            gone = None
            if self.sources.live and not self.sources.changes:
                gone = mask(checked.values["deleted"].filter(accepted))
            ids = checked.values["product_id"].filter(accepted)
            yield Identities(ids.to_pylist(), times.to_pylist(), gone)
        self._snapshot.check()

    def check_repeated(self, product_ids: Collection[str]) -> None:
        """Raise InputError when the several rows of one of these ids may be parts of one product."""
        if self.whole_rows:
            return
        check_whole(self, product_ids)

    def _split(self, raw: RawRows, rows: pa.RecordBatch, checked: Checked) -> TableBatch:
        refused = [RowRefused(f"{raw.file}:{number}", None, reason) for number, reason in raw.refused]
        sources = RowSources(raw.file, raw.numbers)
        unread, good = checked.unread, checked.refusal == 0
        if not good.all():
            bad = np.flatnonzero(checked.refusal).tolist()
            refused += [self._refusal(raw, rows, sources, row, REASONS[checked.refusal[row]]) for row in bad]
        found = [
            (row, f"{name}:{self._value(raw, name, row)}")
            for name, rows_ in unread.items()
            for row in np.flatnonzero(rows_ & good).tolist()
        ]
        plain = int((checked.plain & good).sum())
        if not good.all():
            place = np.cumsum(good) - 1
            found = [(int(place[row]), told) for row, told in found]
            rows, sources = rows.filter(pa.array(good)), sources.where(good)
        return TableBatch(rows, sources, refused, found, plain)

    def _refusal(
        self, raw: RawRows, rows: pa.RecordBatch, sources: RowSources, row: int, reason: str
    ) -> RowRefused:
        usable = not reason.startswith("id_")
        told = f"{reason}:{self._value(raw, NAMED[reason], row)}" if reason in NAMED else reason
        return RowRefused(sources[row], rows.column("product_id")[row].as_py() if usable else None, told)

    def _value(self, raw: RawRows, name: str, row: int) -> str:
        """A value as delivered, truncated, for messages."""
        live = self.sources.live
        source = live.column if name == "live" and live else self.sources.columns[name]
        value = raw.batch.column(source)[row]
        try:
            found = value.as_py()
        except (OverflowError, ValueError):  # a time beyond Python's years
            found = value.value
        return "" if found is None else str(found)[:_TOLD]


def open_table(path: Path, spec: TableSpec, now: datetime | None = None) -> "ProductTable | CombinedTable":
    """Open the table at a path or address (`opening.open_files`), and check its form and columns.

    The rows are checked later, by `batches`. Rows dated more than a day after `now` (default: the clock) will
    be refused.
    Raises: InputError, naming the file, when a file is missing, incomplete, of an unknown kind or without
    rows, or when a column is missing, repeated or of a type that can't be converted.
    """
    files, snapshot = open_files(path, spec)
    if isinstance(files, XmlTable):
        spec = _with_repeated_elements(spec)
    sources = find_sources(files.schema, spec, str(path))
    if not (_PICTURES & set(sources.columns) or sources.pictures):
        log.warning("%s has no column with pictures; map it in [table.columns] if it should", path)
    latest = (now or datetime.now(UTC)) + _FUTURE
    table = ProductTable(files, sources, latest, snapshot, spec.rows == "one" or sources.changes)
    return CombinedTable(table) if spec.rows == "first_non_empty" else table


def _with_repeated_elements(spec: TableSpec) -> TableSpec:
    several = [name for name in SEPARATED if name != "category" or len(spec.category) < 2]
    return replace(spec, separators={**dict.fromkeys(several, SEPARATOR), **spec.separators})
