"""A sheet of questions for reviewers: a CSV that Excel, LibreOffice and WPS open and save without harm."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.errors import InputError
from mmprod.datasets.files import replace_file
from mmprod.datasets.schemas import PAIR, check

COLUMNS = ("pair_id", "anchor_id", "anchor_title", "product_id", "product_title", "label", "reviewer")
TITLE_LENGTH = 1_000  # characters shown; a spreadsheet cell holds 32,767

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # full width too: some locales run them


def write_sheet(path: Path, pairs: pa.Table, titles_of: Callable[[list[str]], list[str]]) -> None:
    """Write one row per pair (PAIR) to `path`, with `label` and `reviewer` left empty for the reviewer.

    UTF-8 with a byte order mark, so that Excel doesn't take Chinese titles for another encoding. Every
    product id stands behind an apostrophe, so that 0012345 stays text; `pair_id` begins with a letter.
    What a reviewer sees of a title is at most TITLE_LENGTH characters.
    `titles_of` gives the titles of product ids, "" where there is none.
    Raises: InputError for a table with other columns or without a row. `path` is replaced whole.
    """
    check(pairs, PAIR, "pairs")
    if not pairs.num_rows:
        raise InputError(f"no pair to ask about: {path} is not written")
    names, anchors, products = (
        pairs.column(name).to_pylist() for name in ("pair_id", "anchor_id", "product_id")
    )
    titles = zip(titles_of(anchors), titles_of(products), strict=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for name, anchor, product, (anchor_title, product_title) in zip(
        names, anchors, products, titles, strict=True
    ):
        shown = [guard(title[:TITLE_LENGTH]) for title in (anchor_title, product_title)]
        writer.writerow([name, protect_id(anchor), shown[0], protect_id(product), shown[1], "", ""])
    replace_file(path, text.getvalue().encode("utf-8-sig"))


def protect_id(product_id: str) -> str:
    """An id as a cell that no spreadsheet turns into a number, a date or a formula: behind an apostrophe."""
    return "'" + product_id


def guard(cell: str) -> str:
    """`cell` with an apostrophe before anything a spreadsheet would run, and before a leading apostrophe."""
    return "'" + cell if cell.startswith((*_FORMULA, "'")) else cell


def unguard(cell: str) -> str:
    """The inverse of `guard`; any other cell, a protected id among them, comes back as it is."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell
