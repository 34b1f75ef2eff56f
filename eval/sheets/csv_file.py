"""Writes a sheet as CSV, for any spreadsheet program."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from mmprod.eval.sheets.sheet import COLUMNS, Row, require_rows
from mmprod.storage.files import replace_file


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write one line per question to `path`, with `label` left empty for the reviewer.

    UTF-8 with a byte order mark, so that Excel detects the encoding of Chinese titles. `path` is replaced
    atomically. Raises: InputError for a sheet without rows or with a repeated question.
    """
    require_rows(rows, path)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(row.cells for row in rows)
    replace_file(path, text.getvalue().encode("utf-8-sig"))
