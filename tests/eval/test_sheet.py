import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.errors import InputError
from mmprod.eval.sheet import COLUMNS, TITLE_LENGTH, guard, protect_id, unguard, write_sheet

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "＝1", "plain", "", '中文, "quoted"\nline']


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def test_a_sheet_shows_both_titles_and_asks_for_label_and_reviewer(tmp_path, pairs):
    path = tmp_path / "reviews" / "sheet.csv"
    write_sheet(path, pairs, lambda ids: [f"title {name}" for name in ids])
    assert path.read_bytes().startswith(b"\xef\xbb\xbfpair_id,")
    rows = rows_of(path)
    assert tuple(rows[0]) == COLUMNS and len(rows) == pairs.num_rows
    for row, pair in zip(rows, pairs.to_pylist(), strict=True):
        assert row["pair_id"] == pair["pair_id"]
        assert row["anchor_id"] == "'" + pair["anchor_id"] and row["product_id"] == "'" + pair["product_id"]
        assert row["anchor_title"] == f"title {pair['anchor_id']}"
        assert row["label"] == row["reviewer"] == ""


def test_no_cell_is_a_number_or_a_formula_to_a_spreadsheet(tmp_path, pairs):
    write_sheet(tmp_path / "s.csv", pairs, lambda ids: [HOSTILE[i % len(HOSTILE)] for i in range(len(ids))])
    for row in rows_of(tmp_path / "s.csv"):
        for name in COLUMNS[:5]:
            assert not row[name].startswith(("=", "+", "-", "@", "\t", "\r", "＝")), row
        for name in ("pair_id", "anchor_id", "product_id"):
            with pytest.raises(ValueError, match="could not convert"):
                float(row[name])


@given(st.one_of(st.text(max_size=8), st.sampled_from(HOSTILE)))
def test_guarded_cells_come_back(cell):
    assert unguard(guard(cell)) == cell
    assert unguard(protect_id(cell)) in (cell, protect_id(cell))


def test_long_titles_are_cut(tmp_path, pairs):
    write_sheet(
        tmp_path / "s.csv", pairs, lambda ids: ["长" * 1_000_000 if i == 0 else "" for i in range(len(ids))]
    )
    assert len(rows_of(tmp_path / "s.csv")[0]["anchor_title"]) == TITLE_LENGTH


def test_a_sheet_without_questions_is_not_written(tmp_path, pairs):
    with pytest.raises(InputError, match="no pair to ask about"):
        write_sheet(tmp_path / "s.csv", pairs.slice(0, 0), lambda ids: ids)
    assert not (tmp_path / "s.csv").exists()
