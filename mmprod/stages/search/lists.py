"""Writes result lists: .xlsx and .csv for people, .parquet for programs."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmprod.datasets.lazy import lazy
from mmprod.eval.sheets.cells import guard
from mmprod.storage import parquet
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

openpyxl = lazy("openpyxl")  # slow to import, and few lists are workbooks
_MOST_ROWS = 1_048_575  # limit of a worksheet, without its heading


def write_list(table: pa.Table, path: Path) -> None:
    """Write a table to a file atomically; formulas in its texts are neutralised.

    .xlsx: texts stay texts, so ids keep leading zeros; .csv: UTF-8 with BOM for Excel; .parquet: unchanged.
    Raises: InputError for another ending, and for more rows than a worksheet holds.
    """
    if path.suffix == ".parquet":
        replace_file(path, parquet.to_bytes(table))
    elif path.suffix == ".csv":
        replace_file(path, _csv(table))
    elif path.suffix == ".xlsx":
        if table.num_rows > _MOST_ROWS:
            raise InputError(f"{path}: {table.num_rows:,} rows, a worksheet holds {_MOST_ROWS:,}: write .csv")
        replace_file(path, _xlsx(table))
    else:
        raise InputError(f"{path}: want a name that ends in .xlsx, .csv, .parquet or .html")


def _rows(table: pa.Table) -> Iterator[list[Any]]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from (list(row.values()) for row in batch.to_pylist())


def _csv(table: pa.Table) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.schema.names)
    writer.writerows([guard(v) if isinstance(v, str) else v for v in row] for row in _rows(table))
    return text.getvalue().encode("utf-8-sig")


def _xlsx(table: pa.Table) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("list")
    sheet.freeze_panes = "A2"
    sheet.append(table.schema.names)
    for row in _rows(table):
        sheet.append([_text(sheet, value) if isinstance(value, str) else value for value in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _text(sheet: Any, value: str) -> Any:
    """A cell that remains text even if somebody edits it."""
    illegal = openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE
    cell = openpyxl.cell.WriteOnlyCell(sheet, illegal.sub("", value))
    cell.number_format, cell.data_type, cell.quotePrefix = "@", "s", True
    return cell
