"""Writes a sheet as an XLSX workbook with embedded pictures."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from mmprod.datasets.lazy import lazy
from mmprod.eval.sheets.sheet import COLUMNS, Row, require_rows
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

openpyxl = lazy("openpyxl")  # slow to import, and sheets of other kinds don't need it
PICTURE_COLUMNS = ("anchor", "product")  # after COLUMNS; label readers ignore them
PICTURE_SIDE = 120  # pixels shown, the longer side
MOST_ROWS = 5_000  # a workbook with more pictures opens slowly or not at all

_WIDTHS = (25, 18, 40, 18, 40, 9, 16, 19, 19)  # characters
_ROW_HEIGHT = 96  # points: PICTURE_SIDE pixels and a margin
_HOW_TO = (
    ("How to fill in this sheet", "如何填写本表"),
    (
        "Compare the two products of each row: pictures on the right, titles in the middle.",
        "请对比每一行的两个商品：图片在右侧，标题在中间。",
    ),
    (
        "Write 1 under label if they are the same, 0 if they are not.",
        "若为同款，请在 label 列填 1；不同填 0。",
    ),
    ("Leave label empty where you are not sure.", "不确定时请将 label 留空。"),
    ("Write your name under reviewer.", "请在 reviewer 列填写您的姓名。"),
    (
        "Leave the other columns as they are: the ids are needed to read it back.",
        "请勿改动其他列：读取结果需要这些编号。",
    ),
    ("Save as .xlsx or CSV UTF-8 and hand the file in.", "请保存为 .xlsx 或 CSV UTF-8 格式后提交。"),
)


def write_xlsx(path: Path, rows: Sequence[Row]) -> None:
    """Write a workbook: one row per question under COLUMNS with both pictures, and a sheet with instructions.

    Every cell is text, even after editing: ids keep leading zeros, and formulas don't run. `label` has a
    drop-down with 1, 0 or nothing. The header row is frozen. `path` is replaced atomically.
    Raises: InputError for a sheet without rows, with a repeated question or with over MOST_ROWS questions.
    """
    require_rows(rows, path)
    if len(rows) > MOST_ROWS:
        raise InputError(
            f"{len(rows)} questions, a workbook takes {MOST_ROWS}: write CSV, or several workbooks"
        )
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "pairs"
    _write_rows(sheet, rows)
    _arrange(sheet, len(rows))
    _write_how_to(book.create_sheet("how to 填写说明"))
    content = io.BytesIO()
    book.save(content)
    replace_file(path, content.getvalue())


def _write_rows(sheet: Any, rows: Sequence[Row]) -> None:
    alignment = openpyxl.styles.Alignment
    thumbnail = cache(_thumbnail)  # the anchor's picture comes many times
    wrapped = alignment(wrap_text=True, vertical="center")
    _texts(sheet, 1, (*COLUMNS, *PICTURE_COLUMNS), alignment(vertical="center"))
    for number, row in enumerate(rows, start=2):
        sheet.row_dimensions[number].height = _ROW_HEIGHT
        _texts(sheet, number, _cells(row), wrapped)
        for column, side in zip("HI", (row.anchor, row.product), strict=True):
            if side.picture and (small := thumbnail(side.picture)):
                _place(sheet, f"{column}{number}", small)


def _cells(row: Row) -> tuple[str, ...]:
    """A row under COLUMNS without the apostrophes of CSV, which text cells don't need."""
    anchor, product = row.anchor, row.product
    shown = (anchor.product_id, anchor.shown_title, product.product_id, product.shown_title)
    return (row.question_id, *shown, "", row.reviewer)


def _texts(sheet: Any, number: int, texts: Sequence[str], alignment: Any) -> None:
    """Text cells: "@" keeps Excel from turning typed input into numbers, quotePrefix into formulas."""
    illegal = openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE
    for column, text in enumerate(texts, start=1):
        cell = sheet.cell(number, column)
        cell.number_format, cell.alignment = "@", alignment
        if text:
            cell.value = illegal.sub("", text)
            cell.data_type = "s"  # openpyxl treats text that begins with = as a formula
            cell.quotePrefix = True


def _thumbnail(picture: bytes) -> bytes | None:
    """The picture at twice its shown size in pixels, None if it can't be read."""
    try:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    image.thumbnail((2 * PICTURE_SIDE, 2 * PICTURE_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _place(sheet: Any, cell: str, jpeg: bytes) -> None:
    drawing = openpyxl.drawing.image.Image(io.BytesIO(jpeg))
    scale = PICTURE_SIDE / max(drawing.width, drawing.height)
    drawing.width, drawing.height = round(drawing.width * scale), round(drawing.height * scale)
    sheet.add_image(drawing, cell)


def _arrange(sheet: Any, count: int) -> None:
    """Freeze the header, set column widths, and add the drop-down for label."""
    styles = openpyxl.styles
    sheet.freeze_panes = "A2"
    for number, width in enumerate(_WIDTHS, start=1):
        sheet.column_dimensions[openpyxl.utils.get_column_letter(number)].width = width
        sheet.cell(1, number).font = styles.Font(bold=True, color="FFFFFF")
        sheet.cell(1, number).fill = styles.PatternFill("solid", fgColor="2A62C9")
    validation = openpyxl.worksheet.datavalidation.DataValidation
    choice = validation("list", formula1='"1,0"', allow_blank=True, showErrorMessage=True)
    choice.promptTitle, choice.prompt = "label", "1 same 同款 · 0 different 不同 · empty: unsure 不确定则留空"
    choice.errorTitle, choice.error = "label", "1, 0 or empty. 请填 1、0 或留空。"
    choice.showInputMessage = True
    choice.add(f"F2:F{count + 1}")
    sheet.add_data_validation(choice)


def _write_how_to(sheet: Any) -> None:
    styles = openpyxl.styles
    for column in "AB":
        sheet.column_dimensions[column].width = 60
    for texts in _HOW_TO:
        sheet.append(texts)
    for line in sheet.iter_rows():
        for cell in line:
            cell.alignment = styles.Alignment(wrap_text=True, vertical="top")
            cell.font = styles.Font(bold=cell.row == 1)
