"""Writes rejected rows to a file for their reviewer."""

import csv
import io
from pathlib import Path

from mmprod.eval.labels.read import LabelFile, RejectedRow
from mmprod.eval.labels.source import column_names
from mmprod.eval.sheets.cells import guard, protect_id
from mmprod.storage.files import replace_file

_IDS = ("anchor_id", "product_id")


def write_rejected(path: Path, labels: LabelFile) -> None:
    """Write the rejected rows: line, reason and the original cells.

    The file is a CSV like a sheet, with formulas neutralised and ids protected; once corrected it is a valid
    label file. Lone surrogates are written as \\ud800. `path` is replaced atomically.
    """
    ids = {place for place, name in enumerate(column_names(labels.header)) if name in _IDS}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["line", "reason", *map(guard, labels.header)])
    for row in labels.rejected:
        writer.writerow([row.line, guard(row.reason), *_cells(row, ids)])
    replace_file(path, text.getvalue().encode("utf-8-sig", errors="backslashreplace"))


def _cells(row: RejectedRow, ids: set[int]) -> list[str]:
    return [
        _protected(cell) if place in ids and cell else guard(cell) for place, cell in enumerate(row.cells)
    ]


def _protected(product_id: str) -> str:
    return product_id if product_id.startswith("'") else protect_id(product_id)
