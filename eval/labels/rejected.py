"""Rejected rows as a file for whoever handed them in."""

import csv
import io
from pathlib import Path

from mmprod.eval.labels.read import LabelFile, RejectedRow
from mmprod.eval.labels.source import column_names
from mmprod.eval.sheets.cells import guard, protect_id
from mmprod.storage.files import replace_file

_IDS = ("anchor_id", "product_id")


def write_rejected(path: Path, labels: LabelFile) -> None:
    """Write the rejected rows: line, reason and the cells as they came.

    A CSV like that of a sheet, formulas made harmless and ids protected. Put right, it is a label file
    again. Half characters (a lone surrogate) are written as \\ud800. `path` is replaced whole.
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
