import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmprod.datasets.schemas import JUDGEMENT, check
from mmprod.eval.labels import read_labels, write_rejected
from mmprod.storage.errors import InputError

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


def test_a_filled_in_sheet_comes_back_whole(answers, read, questions):
    labels = read(answers)
    check(labels.judgements, JUDGEMENT, "judgements")
    for name in ("pair_id", "anchor_id", "product_id"):
        assert labels.judgements[name].to_pylist() == questions[name].to_pylist()
    assert labels.rows == 30 and not labels.rejected
    assert labels.judgements.drop(["pair_id", "anchor_id", "product_id"]).slice(0, 1).to_pylist() == [
        {"label": True, "reviewer": "ann", "judged_at": NOW, "sheet": "answers.csv", "repeat": False}
    ]


def test_the_second_answer_to_a_question_asked_twice_is_a_repeat_of_the_same_pair(answers, read):
    answers[30][5] = "0"
    last = read(answers).judgements.to_pylist()[29]
    assert last["repeat"] and not last["label"]
    assert last["pair_id"] == answers[1][0] != answers[30][0]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters(sheet, read, forms, encoding, delimiter):
    labels = read(forms.csv(forms.answered(sheet, "相似", "小王"), encoding, delimiter))
    assert labels.judgements.num_rows == 30
    assert set(labels.judgements["reviewer"].to_pylist()) == {"小王"}
    assert set(labels.judgements["label"].to_pylist()) == {True}


@pytest.mark.parametrize(
    ("cell", "same"),
    [(c, True) for c in ("1", "1.0", " Yes ", "y", "TRUE", "same", "是", "相同", "相似", "１")]
    + [(c, False) for c in ("0", "0.0", "No", "n", "not", "different", "False", "否", "不同", "不相似")],
)
def test_what_a_label_may_say(sheet, read, forms, cell, same):
    assert set(read(forms.answered(sheet, cell)).judgements["label"].to_pylist()) == {same}


@pytest.mark.parametrize(
    "cell", ["2", "maybe", "1?", "10", "-1", "=1", "0.5", "yes no", "x" * 40_000, "\x00"]
)
def test_any_other_label_is_rejected_with_its_cells(answers, read, cell):
    answers[3][5] = cell
    labels = read(answers)
    assert labels.judgements.num_rows == 29
    (rejected,) = labels.rejected
    assert rejected.line == 4 and rejected.cells == tuple(answers[3]) and len(rejected.reason) < 200


def test_unanswered_and_blank_rows_are_counted(answers, read):
    answers[1][5] = answers[2][5] = " "
    answers[3] = answers[3][:5]  # trailing empty cells left off, as Excel does
    answers += [[""] * 7, []]
    assert read(answers).counts == {
        "rows": 32,
        "accepted": 27,
        "rejected": 0,
        "unanswered": 3,
        "duplicates": 0,
        "blank": 2,
        "swapped": 0,
        "protected": 27,  # a sheet has its ids behind apostrophes
    }


def test_swapped_ids_are_put_right_and_counted(answers, read, questions):
    answers[1][1], answers[1][3] = answers[1][3], answers[1][1]
    labels = read(answers)
    assert labels.swapped == 1
    assert labels.judgements["anchor_id"].to_pylist() == questions["anchor_id"].to_pylist()


def change(column, cell):
    return lambda row: [*row[:column], cell, *row[column + 1 :]]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (change(0, "p" + "f" * 20), "not a pair that was asked"),
        (change(0, ""), "not a pair that was asked"),
        (change(0, "1.2E+10"), "a number that a spreadsheet made"),
        (change(0, "Total:"), "not a pair that was asked"),
        (change(1, "12345.0"), "a number that a spreadsheet made"),
        (change(1, "6.28E+14"), "a number that a spreadsheet made"),
        (change(1, "12345"), "a number that a spreadsheet made"),
        (change(3, "someone else's"), "is not of this pair"),
        (change(3, ""), "product_id shows nothing: ''"),
        (change(1, "\u00a0"), r"anchor_id shows nothing: '\xa0'"),
        (change(3, "\u200b\ufeff"), "product_id shows nothing"),
        (change(1, "1_000"), "anchor_id '1_000' is not of this pair"),
        (lambda row: [*row[:3], row[1], *row[4:]], "anchor and product are the same"),
        (change(6, ""), "no reviewer"),
        (change(6, "a\nnn"), "characters that are no part of a name"),
        (lambda row: [*row, "one more"], "8 cells where the header has 7"),
        (lambda row: row[:6], "6 cells where the header has 7"),
        (lambda row: ["Total:", "30"], "2 cells where the header has 7"),
        (change(4, "long " * 10_000), "a cell of 50000 characters"),
        (change(4, "very long " * 20_000), "larger than field limit"),
    ],
)
def test_rows_that_cannot_be_trusted_are_rejected(answers, read, edit, reason):
    answers[7] = edit(answers[7])
    labels = read(answers)
    assert labels.judgements.num_rows == 29
    (rejected,) = labels.rejected
    assert reason in rejected.reason and rejected.line == 8
    assert rejected.cells == tuple(answers[7]) or "field limit" in reason


def test_the_same_answer_again_counts_once_and_a_contradiction_not_at_all(answers, read):
    first, second, third = (list(row) for row in answers[1:4])
    answers += [first, first, [*second[:5], "0", "ann"], [*third[:5], "0", "bo"]]
    labels = read(answers)
    assert labels.duplicates == 2
    assert [row.line for row in labels.rejected] == [3, 34]
    assert all(row.reason == "conflict: answered both ways on lines 3, 34" for row in labels.rejected)
    assert [row.cells for row in labels.rejected] == [tuple(second), tuple(answers[33])]
    assert labels.judgements.num_rows == 30  # 29 of ann's and bo's, who may disagree with her


def test_a_conflict_over_very_many_rows_keeps_its_reasons_short(answers, read):
    answers += [[*answers[1][:5], str(i % 2), "ann"] for i in range(5000)]
    labels = read(answers)
    assert len(labels.rejected) == 5001 and labels.judgements.num_rows == 29
    assert max(len(row.reason) for row in labels.rejected) < 120
    assert labels.rejected[0].reason.endswith("38, 39, 40 and 4991 more")


def test_whose_file_it_is_fills_empty_reviewers(sheet, read, forms):
    rows = forms.answered(sheet, reviewer="")
    rows[1][6] = "bo"
    assert set(read(rows, reviewer=" ann ").judgements["reviewer"].to_pylist()) == {"ann", "bo"}
    without_column = [row[:6] for row in rows]
    assert set(read(without_column, reviewer="ann").judgements["reviewer"].to_pylist()) == {"ann"}


def test_a_formula_is_kept_raw_and_written_harmless(sheet, read, forms, tmp_path):
    formula = '=HYPERLINK("http://x","y")'
    rows = forms.answered(sheet, reviewer=formula)
    rows[1][5] = formula
    labels = read(rows)
    assert set(labels.judgements["reviewer"].to_pylist()) == {formula}
    assert labels.rejected[0].cells[5] == formula
    write_rejected(tmp_path / "rejected.csv", labels)
    assert all(
        not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        for row in csv.reader(io.StringIO((tmp_path / "rejected.csv").read_text("utf-8-sig"), newline=""))
        for cell in row
    )


def test_rejected_rows_put_right_are_a_label_file_again(sheet, read, forms, tmp_path, questions):
    labels = read(forms.answered(sheet, "perhaps"))
    assert labels.judgements.num_rows == 0 and len(labels.rejected) == 30
    write_rejected(tmp_path / "rejected.csv", labels)
    again = (tmp_path / "rejected.csv").read_bytes().replace(b",perhaps,ann", b",1,ann")
    for _ in range(2):
        fixed = read(again)
        assert fixed.judgements["pair_id"].to_pylist() == questions["pair_id"].to_pylist()
        write_rejected(tmp_path / "again.csv", read(again.replace(b",1,ann", b",perhaps,ann")))
        again = (tmp_path / "again.csv").read_bytes().replace(b",perhaps,ann", b",1,ann")
    assert b",'0012345," in again  # one apostrophe, however many trips


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("pair_id,anchor_id,product_id,reviewer", "no column label"),
        ("id;label", "no column anchor_id, product_id"),
        ("pair_id,anchor_id,product_id,label,Label", "column label comes twice"),
        ("nothing here", "no comma, semicolon or tab"),
        ("\n", "no comma, semicolon or tab"),
        ("", "the file is empty"),
        ("PK\x03\x04", "no whole .xlsx workbook"),
        (b"\xd0\xcf\x11\xe0", "an .xls workbook or one with a password"),
        (
            'pair_id,anchor_id,product_id,label\n"p1,a,b,1\np2,a,b,1',
            "line 2: a quote is opened and never closed",
        ),
        (
            b"pair_id,anchor_id,product_id,label\nx\xff\x81\xffy\x90z",
            "not UTF-8 and in no encoding known here",
        ),
    ],
)
def test_files_that_are_no_label_file_are_refused_whole(read, header, message):
    with pytest.raises(InputError, match=message):
        read(header)


def test_files_over_the_limit_without_time_zone_or_not_there_are_refused(answers, read, tmp_path, questions):
    with pytest.raises(InputError, match="the limit is 1000"):
        read(answers, max_bytes=1000)
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "none.csv", questions, NOW)
    with pytest.raises(InputError, match="no time zone"):
        read_labels(tmp_path / "answers.csv", questions, datetime(2025, 1, 1))


def test_quotes_line_ends_and_line_numbers(sheet, answers, read):
    text = [[cell.replace('"', '""') for cell in row] for row in answers]
    for end in ("\n", "\r", "\r\n"):
        assert read(end.join(",".join(f'"{cell}"' for cell in row) for row in text)).rows == 30
    answers[1][4] = 'two\nlines and a "quote"'
    answers[2][5] = "?"
    assert [row.line for row in read(answers).rejected] == [4]
    stray = ",".join(sheet[0]) + '\n"p1"x,a,b,c,d,1,ann\n'
    (rejected,) = read(stray).rejected
    assert rejected.cells == ('"p1"x,a,b,c,d,1,ann',) and rejected.line == 2


def test_rows_swallowed_by_a_quote_are_given_back(read, questions):
    """A quote is missing in line 2 and closed in line 4: two rows have become the title of a third."""
    q = questions.slice(3, 3).to_pylist()
    rows = [f"{r['question_id']},{r['anchor_id']},t,{r['product_id']},t,1,ann" for r in q]
    rows[0] = rows[0].replace(",t,", ',"t,', 1)
    rows[2] = rows[2].replace(",t,", ',t",', 1)
    header = "pair_id,anchor_id,anchor_title,product_id,product_title,label,reviewer\n"
    (rejected,) = read(header + "\n".join(rows)).rejected
    assert rejected.reason == "a quote runs over 3 lines: is one missing?"
    assert all(r["question_id"] in "".join(rejected.cells) for r in q)


cells = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["1", "0", "", "ann", "'0012345"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(cells, max_size=8), max_size=6), st.data())
def test_every_row_of_any_table_is_accounted_for(answers, read, forms, strange, data):
    rows = answers[1:]
    for row in strange:
        rows.insert(data.draw(st.integers(0, len(rows))), row)
    labels = read(forms.csv([answers[0], *rows]))
    assert labels.rows == len(rows)
    assert {row.cells for row in labels.rejected} <= {tuple(row) for row in rows}
    assert labels.judgements["pair_id"].to_pylist() == [answers[1 + i % 29][0] for i in range(30)]
