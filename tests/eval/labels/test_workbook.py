import io
import re
import time
import tracemalloc
import zipfile

import openpyxl
import pytest
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.formula import ArrayFormula

from mmprod.eval.labels import workbook_parts, write_rejected
from mmprod.storage.errors import InputError

SHEET = "xl/worksheets/sheet1.xml"


def edited(data, edit, part=SHEET):
    """A workbook with one part of it changed: well packed, whatever is in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, edit(old.read(name)) if name == part else old.read(name))
    return out.getvalue()


def test_a_filled_in_workbook_comes_back_whole(answers, read, forms, questions):
    labels = read(forms.xlsx([["How to"], ["label: 1 or 0"]], answers))
    assert labels.judgements["pair_id"].to_pylist() == questions["pair_id"].to_pylist()
    assert (labels.rows, labels.encoding) == (30, "")


def shared(data):
    """A workbook with its strings in a table of their own, as Excel stores them."""
    strings = []

    def take(cell):
        strings.append(cell[1])
        return b't="s"><v>%d</v>' % (len(strings) - 1)

    data = edited(data, lambda xml: re.sub(rb't="inlineStr"><is>(.*?)</is>', take, xml))
    data = edited(
        data, lambda xml: xml.replace(b"</Types>", STRINGS_TYPE + b"</Types>"), "[Content_Types].xml"
    )
    with io.BytesIO(data) as out, zipfile.ZipFile(out, "a") as archive:
        items = b"".join(b"<si>%s</si>" % item for item in strings)
        archive.writestr("xl/sharedStrings.xml", b'<sst xmlns="%s">%s</sst>' % (NAMESPACE, items))
        archive.close()
        return out.getvalue()


NAMESPACE = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRINGS_TYPE = (
    b'<Override PartName="/xl/sharedStrings.xml" ContentType="application/'
    b'vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/>'
)


def test_strings_in_a_table_of_their_own_as_excel_stores_them(answers, read, forms, questions):
    data = shared(forms.xlsx(answers))
    assert read(data).judgements["pair_id"].to_pylist() == questions["pair_id"].to_pylist()
    with pytest.raises(InputError, match="is no whole"):
        read(edited(data, lambda xml: xml.replace(b"<v>9</v>", b"<v>99999</v>")))


def test_what_spreadsheets_make_of_cells(answers, read, forms):
    """Numbers and booleans as labels count; ids that became numbers don't, and formulas stay text."""
    for row, label in zip(answers[1:6], (1, 0, 1.0, True, False), strict=True):
        row[5] = label
    answers[6][1] = -7  # the id is "-7": nothing was lost
    answers[7][1] = 628000000000000123456
    answers[8][5] = "=1=1"
    answers[9][5] = ArrayFormula("F9", "=SUM(A1:A2)")
    answers[13][1] = 12345  # of 0012345
    labels = read(forms.xlsx(answers))
    assert labels.judgements["label"].to_pylist()[:5] == [True, False, True, True, False]
    reasons = {row.line: row.reason for row in labels.rejected}
    assert sorted(reasons) == [8, 9, 10, 14]
    assert "6.28000000000000E+20' looks like a number" in reasons[8]
    assert "'=1=1' is not understood" in reasons[9] and "=SUM(A1:A2)" in reasons[10]
    assert "12345' looks like a number" in reasons[14]


def test_rejected_rows_of_a_workbook_keep_their_ids_in_a_spreadsheet(sheet, read, forms, tmp_path):
    rows = forms.answered(sheet, "?")
    for row in rows[1:]:
        row[1], row[3] = row[1].removeprefix("'"), row[3].removeprefix("'")  # text cells need no apostrophe
    write_rejected(tmp_path / "rejected.csv", read(forms.xlsx(rows)))
    back = (tmp_path / "rejected.csv").read_bytes()
    assert b",'0012345," in back
    assert read(back.replace(b",?,", b",1,")).judgements.num_rows == 30


def test_line_numbers_gaps_and_cells_beyond_the_header(answers, read, forms):
    rows = [[], *answers[:2], [], [None] * 3, *answers[2:]]  # the header stands in row 2
    rows[7] = [*rows[7], None, ""]
    rows[8] = [*rows[8], "more"]
    rows += [["Total:", 30]]
    labels = read(forms.xlsx(rows))
    assert labels.judgements.num_rows == 29
    assert [(row.line, row.cells[-1]) for row in labels.rejected] == [(9, "more"), (len(rows), "")]


def test_a_wrong_dimension_hides_no_row(answers, read, forms):
    data = edited(
        forms.xlsx(answers), lambda xml: re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:B2"', xml)
    )
    assert read(data).judgements.num_rows == 30


def test_validations_colours_and_hidden_sheets_do_not_matter(answers, tmp_path, read):
    book = openpyxl.Workbook()
    book.active.sheet_state = "hidden"
    sheet = book.create_sheet()
    for row in answers:
        sheet.append(row)
    choice = DataValidation(type="list", formula1='"1,0"')
    choice.add("F2:F1000000")
    sheet.add_data_validation(choice)
    sheet.freeze_panes = "A2"
    sheet["A2"].fill = openpyxl.styles.PatternFill("solid", "FF0000")
    book.save(tmp_path / "book.xlsx")
    assert read((tmp_path / "book.xlsx").read_bytes()).judgements.num_rows == 30


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (rb'r="C5"', b'r="B5"', 5),  # a cell twice: the second would hide the first
        (rb'r="C5"', b'r="C6"', 5),  # a cell of another row
        (rb'r="G5"', b'r="ZZZ5"', 5),
    ],
)
def test_rows_with_cells_out_of_place_are_given_back(answers, read, forms, old, new, line):
    labels = read(edited(forms.xlsx(answers), lambda xml: xml.replace(old, new)))
    (rejected,) = labels.rejected
    assert (rejected.line, rejected.reason) == (line, "its cells are not in order")
    assert len(rejected.cells) == 7 and labels.judgements.num_rows == 29


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda xml: xml.replace(b'<row r="5"', b'<row r="4"'), "row 4 of .* comes after row 4"),
        (lambda xml: xml.replace(b'<row r="31"', b'<row r="1048577"'), "row 1048577 of"),
        (lambda xml: xml[:1000], "is no whole"),
        (lambda xml: BOMB + xml, "is no whole .*Entities"),
        (lambda xml: b"", "is no whole"),
    ],
)
def test_damaged_worksheets_are_refused_whole(answers, read, forms, edit, message):
    with pytest.raises(InputError, match=message):
        read(edited(forms.xlsx(answers), edit))


def test_workbooks_without_one_sheet_of_questions_are_refused(answers, read, forms):
    with pytest.raises(InputError, match="no worksheet has the columns anchor_id, product_id, label"):
        read(forms.xlsx([["something"]], []))
    with pytest.raises(InputError, match=r"2 worksheets \(Sheet, Sheet1\) have the columns"):
        read(forms.xlsx(answers, answers))


def test_cut_off_damaged_and_foreign_zips_are_refused(answers, read, forms):
    data = forms.xlsx(answers)
    for cut in (5, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match="is no whole"):
            read(data[:cut])
    at = data.index(b"sheet1.xml") + 300
    with pytest.raises(InputError, match=r"damaged|no whole \.xlsx workbook"):
        read(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "no workbook")
    with pytest.raises(InputError, match="is no whole"):
        read(other.getvalue())


def test_zip_bombs_are_refused_before_they_unpack(answers, read, forms, monkeypatch):
    data = edited(
        forms.xlsx(answers), lambda xml: xml.replace(b"</sheetData>", b" " * (2 << 20) + b"</sheetData>")
    )
    assert read(data).judgements.num_rows == 30
    monkeypatch.setattr(workbook_parts, "MAX_XML", 1 << 20)
    with pytest.raises(InputError, match="the limit is 1048576: split it"):
        read(data)
    with pytest.raises(InputError, match="the limit is 1000"):
        read(data, max_bytes=1000)


EMPTY = {
    "in one row": b'<row r="40">' + b"<c/>" * 5_000_000 + b"</row>",
    "in many rows": b"".join(b'<row r="%d">' % row + b"<c/>" * 100 + b"</row>" for row in range(40, 50_040)),
}


@pytest.mark.parametrize("where", EMPTY)
def test_millions_of_empty_cells_are_refused_soon_and_in_little_memory(answers, read, forms, where):
    data = edited(
        forms.xlsx(answers), lambda xml: xml.replace(b"</sheetData>", EMPTY[where] + b"</sheetData>")
    )
    assert len(data) < 300_000
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="far more cells than a sheet of questions"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 10


def test_so_are_parts_of_more_elements_than_any_program_writes(answers, read, forms):
    styles = b"<cellXfs>" + b"<xf/>" * 200_000
    data = edited(
        forms.xlsx(answers),
        lambda xml: xml.replace(b"<cellXfs", styles + b"</cellXfs><cellXfs", 1),
        "xl/styles.xml",
    )
    with pytest.raises(InputError, match="far more cells"):
        read(data)


def test_a_row_formatted_to_its_end_is_read(answers, read, forms):
    wide = b"".join(b'<c r="%s12" s="1"/>' % get_column_letter(n).encode() for n in range(8, 16_385))
    data = edited(
        forms.xlsx(answers), lambda xml: re.sub(rb'(<row r="12".*?)</row>', rb"\1" + wide + b"</row>", xml)
    )
    assert read(data).judgements.num_rows == 30


def test_strict_open_xml_is_named(answers, read, forms):
    def strict(xml):
        return xml.replace(NAMESPACE, b"http://purl.oclc.org/ooxml/spreadsheetml/main")

    data = edited(forms.xlsx(answers), strict, "xl/workbook.xml")
    with pytest.raises(InputError, match=r'is a "Strict Open XML" workbook: save it as "Excel Workbook'):
        read(edited(data, strict))


def merged(forms, rows, *ranges):
    book = openpyxl.load_workbook(io.BytesIO(forms.xlsx(rows)))
    for name in ranges:
        book.active.merge_cells(name)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def test_cells_merged_down_a_column_say_the_same_in_each_row(answers, read, forms):
    answers[6][5] = "0"
    labels = read(merged(forms, answers, "G2:G31", "F7:F9"))
    assert labels.judgements.num_rows == 30
    assert labels.judgements["label"].to_pylist()[4:9] == [True, False, False, False, True]
    assert set(labels.judgements["reviewer"].to_pylist()) == {"ann"}


def test_a_merged_range_that_says_nothing_does_not_say_what_the_one_before_did(answers, read, forms):
    answers[4][6] = ""
    labels = read(merged(forms, answers, "G2:G4", "G5:G6", "K2:K9"))
    assert [(row.line, row.cells[6]) for row in labels.rejected] == [(5, ""), (6, "")]


def test_rows_with_cells_merged_across_columns_are_given_back(answers, read, forms):
    labels = read(merged(forms, answers, "F4:G4", "B9:C10", "H20:J21"))
    assert [(row.line, row.reason) for row in labels.rejected] == [
        (4, "cells F4:G4 are merged: split them"),
        (9, "cells B9:C10 are merged: split them"),
        (10, "cells B9:C10 are merged: split them"),
    ]
    assert labels.judgements.num_rows == 27


def test_a_title_may_stand_above_the_header(answers, read, forms):
    labels = read(merged(forms, [["Answers of the week"], [], ["by", "ann"], *answers], "A1:G1"))
    assert (labels.rows, labels.judgements.num_rows) == (30, 30)
    with pytest.raises(InputError, match="no worksheet has the columns"):
        read(forms.xlsx([["notes"]] * 10 + answers))
