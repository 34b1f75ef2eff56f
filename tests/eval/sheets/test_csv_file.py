import csv
import io
from dataclasses import replace

import pytest

from mmprod.eval.sheets.cells import unguard
from mmprod.eval.sheets.csv_file import write_csv
from mmprod.eval.sheets.sheet import COLUMNS, TITLE_LENGTH, Row, Side
from mmprod.storage.errors import InputError


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def test_a_sheet_shows_both_titles_and_asks_for_label_and_reviewer(tmp_path, rows):
    path = tmp_path / "reviews" / "sheet.csv"
    write_csv(path, [*rows[:-1], replace(rows[-1], reviewer="-bo")])
    assert path.read_bytes().startswith(b"\xef\xbb\xbfpair_id,")
    found = rows_of(path)
    assert tuple(found[0]) == COLUMNS and len(found) == len(rows)
    for cells, row in zip(found, rows, strict=True):
        assert cells["pair_id"] == row.question_id
        assert cells["anchor_id"] == "'" + row.anchor.product_id
        assert cells["product_id"] == "'" + row.product.product_id
        assert unguard(cells["anchor_title"]) == row.anchor.title
        assert cells["label"] == ""
    assert [cells["reviewer"] for cells in found] == [""] * (len(rows) - 1) + ["'-bo"]


def test_no_cell_is_a_number_or_a_formula_to_a_spreadsheet(tmp_path, rows):
    write_csv(tmp_path / "s.csv", rows)
    for cells in rows_of(tmp_path / "s.csv"):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝")) for cell in cells.values()), (
            cells
        )
        for name in ("pair_id", "anchor_id", "product_id"):
            with pytest.raises(ValueError, match="could not convert"):
                float(cells[name])


def test_long_titles_are_cut(tmp_path):
    write_csv(tmp_path / "s.csv", [Row("p1", Side("a", "长" * 1_000_000, None), Side("b", "", None))])
    assert len(rows_of(tmp_path / "s.csv")[0]["anchor_title"]) == TITLE_LENGTH


def test_a_sheet_without_questions_or_with_one_twice_is_not_written(tmp_path, rows):
    with pytest.raises(InputError, match="no pair to ask about"):
        write_csv(tmp_path / "s.csv", [])
    with pytest.raises(InputError, match=f"{rows[0].question_id}' stands on the sheet"):
        write_csv(tmp_path / "s.csv", [rows[0], rows[1], rows[0]])
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "lost"), [("xlsx", ""), ("ods", "\t")])
def test_libreoffice_opens_and_saves_it_without_harm(tmp_path, rows, libreoffice, kind, lost):
    """All cells come back; its own form loses the tab in a title, which nobody reads back."""
    write_csv(tmp_path / "sheet.csv", rows)
    back = libreoffice(libreoffice(tmp_path / "sheet.csv", kind), "csv")
    for found, cells in zip(rows_of(back), rows_of(tmp_path / "sheet.csv"), strict=True):
        assert found == {name: cell.replace(lost, "") for name, cell in cells.items()}
