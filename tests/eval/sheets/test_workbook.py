import zipfile
from dataclasses import replace

import openpyxl
import pytest

from mmprod.eval.sheets import workbook
from mmprod.eval.sheets.sheet import COLUMNS, Row, Side
from mmprod.eval.sheets.workbook import write_xlsx
from mmprod.storage.errors import InputError


def opened(path):
    return openpyxl.load_workbook(path)


def test_ids_and_titles_come_back_as_they_are(tmp_path, rows):
    write_xlsx(tmp_path / "s.xlsx", [replace(row, reviewer="bo") for row in rows])
    header, *lines = opened(tmp_path / "s.xlsx")["pairs"].iter_rows(values_only=True)
    assert header[:7] == COLUMNS
    for line, row in zip(lines, rows, strict=True):
        titles = [side.title or None for side in (row.anchor, row.product)]
        assert [line[2], line[4]] == titles
        assert [line[0], line[1], line[3]] == [row.question_id, row.anchor.product_id, row.product.product_id]
        assert line[5:7] == (None, "bo")


def test_every_cell_is_text_and_stays_so_when_edited(tmp_path, rows):
    write_xlsx(tmp_path / "s.xlsx", rows)
    for line in opened(tmp_path / "s.xlsx")["pairs"].iter_rows(max_col=7):
        for cell in line:
            assert cell.number_format == "@"
            assert cell.value is None or (cell.data_type == "s" and cell.quotePrefix)
    with zipfile.ZipFile(tmp_path / "s.xlsx") as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")


def test_pictures_stand_in_their_rows(tmp_path, rows):
    write_xlsx(tmp_path / "s.xlsx", rows)
    sheet = opened(tmp_path / "s.xlsx")["pairs"]
    found = {(image.anchor._from.row, image.anchor._from.col) for image in sheet._images}
    sides = [
        (number, side) for number, row in enumerate(rows, 1) for side in ((7, row.anchor), (8, row.product))
    ]
    assert found == {(number, column) for number, (column, side) in sides if side.picture}
    assert all(max(image.width, image.height) <= 2 * workbook.PICTURE_SIDE for image in sheet._images)


def test_the_header_stays_in_view_and_the_label_offers_its_values(tmp_path, rows):
    write_xlsx(tmp_path / "s.xlsx", rows)
    book = opened(tmp_path / "s.xlsx")
    assert book["pairs"].freeze_panes == "A2"
    (choice,) = book["pairs"].data_validations.dataValidation
    assert (choice.formula1, str(choice.sqref), choice.allow_blank) == ('"1,0"', f"F2:F{len(rows) + 1}", True)
    assert "如何填写本表" in [cell.value for cell in book.worksheets[1]["B"]]


def test_unreadable_pictures_and_control_characters_do_no_harm(tmp_path):
    write_xlsx(tmp_path / "s.xlsx", [Row("p1", Side("a", "A\x00\x1b[31m", b"none"), Side("b", "B", b""))])
    sheet = opened(tmp_path / "s.xlsx")["pairs"]
    assert sheet["C2"].value == "A[31m" and not sheet._images


def test_too_many_questions_are_refused(tmp_path, rows):
    many = [replace(rows[0], question_id=f"p{i}") for i in range(workbook.MOST_ROWS + 1)]
    with pytest.raises(InputError, match="5001 questions, a workbook takes 5000"):
        write_xlsx(tmp_path / "s.xlsx", many)
    with pytest.raises(InputError, match="no pair to ask about"):
        write_xlsx(tmp_path / "s.xlsx", [])
    assert not list(tmp_path.iterdir())
