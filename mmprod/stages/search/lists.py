"""Lists to take away: .xlsx and .csv for people, .parquet for programs."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmprod.eval.sheets.cells import guard
from mmprod.storage import parquet
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

_MOST_ROWS = 1_048_575  # that a worksheet holds below its heading


def write_list(table: pa.Table, path: Path) -> None:
    """Write a table to a file, whole or not at all; formulas in it do no harm.

    .xlsx: texts stay texts, so ids keep their zeros; .csv: UTF-8 with BOM for Excel; .parquet: as it is.
    Raises: InputError for another name, and for more rows than a worksheet holds.
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
    from openpyxl import Workbook  # takes a second to import

    book = Workbook(write_only=True)
    sheet = book.create_sheet("list")
    sheet.freeze_panes = "A2"
    sheet.append(table.schema.names)
    for row in _rows(table):
        sheet.append([_text(sheet, value) if isinstance(value, str) else value for value in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _text(sheet: Any, value: str) -> Any:
    """A cell that stays text when somebody edits it, whatever it looks like."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", value))
    cell.number_format, cell.data_type, cell.quotePrefix = "@", "s", True
    return cell
