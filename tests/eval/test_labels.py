import csv
import io
import random
from datetime import UTC, datetime

import pytest

from mmprod.datasets.errors import InputError
from mmprod.datasets.schemas import JUDGEMENT, check
from mmprod.eval.labels import read_labels, write_rejected
from mmprod.eval.sheet import write_sheet

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def sheet(tmp_path, pairs):
    """The rows of a written sheet as lists of cells, the header first."""
    path = tmp_path / "sheet.csv"
    write_sheet(path, pairs, lambda ids: [f"title of {name}, 好" for name in ids])
    return list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


@pytest.fixture
def read(tmp_path, pairs):
    """Read rows of cells, or text, or bytes, as a label file."""

    def read(content, encoding="utf-8", delimiter=",", **options):
        if isinstance(content, list):
            text = io.StringIO(newline="")
            csv.writer(text, delimiter=delimiter).writerows(content)
            content = text.getvalue()
        path = tmp_path / "answers.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return read_labels(path, pairs, NOW, **options)

    return read


def answered(sheet, label="1", reviewer="ann"):
    return [sheet[0], *([*row[:5], label, reviewer] for row in sheet[1:])]


def test_a_filled_in_sheet_comes_back_whole(sheet, read, pairs):
    labels = read(answered(sheet))
    check(labels.judgements, JUDGEMENT, "judgements")
    for name in ("pair_id", "anchor_id", "product_id"):
        assert labels.judgements[name].to_pylist() == pairs[name].to_pylist()
    assert labels.rows == 30 and not labels.rejected
    assert labels.judgements.slice(0, 1).to_pylist()[0] | {
        "pair_id": "",
        "anchor_id": "",
        "product_id": "",
    } == {
        "pair_id": "",
        "anchor_id": "",
        "product_id": "",
        "label": True,
        "reviewer": "ann",
        "judged_at": NOW,
        "sheet": "answers.csv",
    }


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters(sheet, read, encoding, delimiter):
    labels = read(answered(sheet, "相似", "小王"), encoding, delimiter)
    assert labels.judgements.num_rows == 30
    assert set(labels.judgements["reviewer"].to_pylist()) == {"小王"}
    assert set(labels.judgements["label"].to_pylist()) == {True}


@pytest.mark.parametrize(
    ("cell", "same"),
    [(c, True) for c in ("1", "1.0", " Yes ", "y", "TRUE", "same", "是", "相同", "相似", "１")]
    + [(c, False) for c in ("0", "0.0", "No", "n", "not", "different", "False", "否", "不同", "不相似")],
)
def test_what_a_label_may_say(sheet, read, cell, same):
    assert set(read(answered(sheet, cell)).judgements["label"].to_pylist()) == {same}


@pytest.mark.parametrize(
    "cell", ["2", "maybe", "1?", "10", "-1", "=1", "0.5", "yes no", "x" * 40_000, "\x00"]
)
def test_any_other_label_is_rejected_with_its_cells(sheet, read, cell):
    rows = answered(sheet)
    rows[3][5] = cell
    labels = read(rows)
    assert labels.judgements.num_rows == 29
    (rejected,) = labels.rejected
    assert rejected.line == 4 and rejected.cells == tuple(rows[3]) and len(rejected.reason) < 200


def test_unanswered_and_blank_rows_are_counted(sheet, read):
    rows = answered(sheet)
    rows[1][5] = rows[2][5] = " "
    rows[3] = rows[3][:5]  # trailing empty cells left off, as Excel does
    rows += [[""] * 7, []]
    labels = read(rows)
    assert (labels.judgements.num_rows, labels.unanswered, labels.blank, labels.rows) == (27, 3, 2, 32)


def test_swapped_ids_are_put_right_and_counted(sheet, read, pairs):
    rows = answered(sheet)
    rows[1][1], rows[1][3] = rows[1][3], rows[1][1]
    labels = read(rows)
    assert labels.swapped == 1
    assert labels.judgements["anchor_id"].to_pylist() == pairs["anchor_id"].to_pylist()


def change(column, cell):
    return lambda row: [*row[:column], cell, *row[column + 1 :]]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (change(0, "p" + "0" * 20), "not a pair that was asked"),
        (change(0, "1.2E+10"), "a number that a spreadsheet made"),
        (change(0, "Total:"), "not a pair that was asked"),
        (change(1, "12345.0"), "a number that a spreadsheet made"),
        (change(1, "6.28E+14"), "a number that a spreadsheet made"),
        (change(1, "12345"), "a number that a spreadsheet made"),
        (change(3, "someone else's"), "is not of this pair"),
        (change(3, ""), "is not of this pair"),
        (lambda row: [*row[:3], row[1], *row[4:]], "anchor and product are the same"),
        (change(6, ""), "no reviewer"),
        (lambda row: [*row, "one more"], "8 cells where the header has 7"),
        (lambda row: row[:6], "6 cells where the header has 7"),
        (lambda row: ["Total:", "30"], "2 cells where the header has 7"),
        (change(4, "long " * 10_000), "a cell of 50000 characters"),
        (change(4, "very long " * 20_000), "larger than field limit"),
    ],
)
def test_rows_that_cannot_be_trusted_are_rejected(sheet, read, edit, reason):
    rows = answered(sheet)
    rows[7] = edit(rows[7])
    labels = read(rows)
    assert labels.judgements.num_rows == 29
    (rejected,) = labels.rejected
    assert reason in rejected.reason and rejected.line == 8
    assert rejected.cells == tuple(rows[7]) or "field limit" in reason


def test_the_same_answer_again_counts_once_and_a_contradiction_not_at_all(sheet, read):
    rows = answered(sheet)
    rows += [list(rows[1]), list(rows[1]), [*rows[2][:5], "0", "ann"], [*rows[3][:5], "0", "bo"]]
    labels = read(rows)
    assert labels.duplicates == 2
    assert [row.line for row in labels.rejected] == [3, 34]
    assert all(row.reason == "conflict: answered both ways on lines 3, 34" for row in labels.rejected)
    assert labels.judgements.num_rows == 30  # 29 of ann's and bo's, who may disagree with her


def test_whose_file_it_is_fills_empty_reviewers(sheet, read):
    rows = answered(sheet, reviewer="")
    rows[1][6] = "bo"
    assert set(read(rows, reviewer=" ann ").judgements["reviewer"].to_pylist()) == {"ann", "bo"}
    without_column = [row[:6] for row in rows]
    assert set(read(without_column, reviewer="ann").judgements["reviewer"].to_pylist()) == {"ann"}


def test_a_formula_is_kept_raw_and_written_harmless(sheet, read, tmp_path):
    formula = '=HYPERLINK("http://x","y")'
    rows = answered(sheet, reviewer=formula)
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


def test_rejected_rows_put_right_are_a_label_file_again(sheet, read, tmp_path, pairs):
    labels = read(answered(sheet, "perhaps"))
    assert labels.judgements.num_rows == 0 and len(labels.rejected) == 30
    write_rejected(tmp_path / "rejected.csv", labels)
    again = (tmp_path / "rejected.csv").read_bytes().replace(b",perhaps,ann", b",1,ann")
    for _ in range(2):
        fixed = read(again)
        assert fixed.judgements["pair_id"].to_pylist() == pairs["pair_id"].to_pylist()
        write_rejected(tmp_path / "again.csv", read(again.replace(b",1,ann", b",perhaps,ann")))
        again = (tmp_path / "again.csv").read_bytes().replace(b",perhaps,ann", b",1,ann")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("pair_id,anchor_id,product_id,reviewer", "no column label"),
        ("id;label", "no column pair_id, anchor_id, product_id"),
        ("pair_id,anchor_id,product_id,label,Label", "column label comes twice"),
        ("nothing here", "no comma, semicolon or tab"),
        ("\n", "no comma, semicolon or tab"),
        ("", "the file is empty"),
        ("PK\x03\x04", "workbook"),
        (
            'pair_id,anchor_id,product_id,label\n"p1,a,b,1\np2,a,b,1',
            "line 2: a quote is opened and never closed",
        ),
        (b"pair_id,anchor_id,product_id,label\n\xff\xff\xff", "neither UTF-8, UTF-16 nor GBK"),
    ],
)
def test_files_that_are_no_label_file_are_refused_whole(read, header, message):
    with pytest.raises(InputError, match=message):
        read(header)


def test_files_over_the_limit_without_time_zone_or_not_there_are_refused(sheet, read, tmp_path, pairs):
    with pytest.raises(InputError, match="the limit is 1000"):
        read(answered(sheet), max_bytes=1000)
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "none.csv", pairs, NOW)
    with pytest.raises(InputError, match="no time zone"):
        read_labels(tmp_path / "answers.csv", pairs, datetime(2025, 1, 1))


def test_quotes_line_ends_and_line_numbers(sheet, read):
    rows = answered(sheet)
    rows[1][4] = 'two\nlines and a "quote"'
    rows[2][5] = "?"
    assert [row.line for row in read(rows).rejected] == [4]
    for end in ("\n", "\r", "\r\n"):
        text = end.join(
            ",".join(f'"{cell}"' for cell in row).replace('c"d', 'c""d') for row in answered(sheet)
        )
        assert read(text).judgements.num_rows == 30
    stray = ",".join(sheet[0]) + '\n"p1"x,a,b,c,d,1,ann\n'
    (rejected,) = read(stray).rejected
    assert rejected.cells == ('"p1"x,a,b,c,d,1,ann',) and rejected.line == 2


def mutate(rng, data):
    """One of the accidents that happen to bytes of a file on its way."""
    at, to = sorted(rng.randrange(len(data)) for _ in range(2))
    kind = rng.randrange(8)
    if kind == 0:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 1:
        return (
            data[:at]
            + rng.choice([b'"', b",", b"\n", b"\r", b";", b"\t", b"\0", b"'", b"1.2E+10"])
            + data[at:]
        )
    if kind == 2:
        return data[:to]
    if kind == 3:
        return data[:at] + data[min(to, at + 60) :]
    if kind == 4:
        return data + data[at:to]
    lines = data.split(b"\n")
    i, j = (rng.randrange(len(lines)) for _ in range(2))
    if kind == 5:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 6:
        lines.insert(i, lines[j])
    else:
        lines[i] = lines[i].replace(b",", b";", 3)
    return b"\n".join(lines)


def test_mutated_files_never_crash_and_lose_no_row(sheet, read, tmp_path, pairs):
    """1,000 files with up to three accidents: refused whole, or every record accounted for."""
    asked = {row["pair_id"]: [row["anchor_id"], row["product_id"]] for row in pairs.to_pylist()}
    refused = 0
    for seed in range(1000):
        rng = random.Random(seed)
        rows = [sheet[0], *([*row[:5], rng.choice(["1", "0", "", "x"]), "ann"] for row in sheet[1:])]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        data = text.getvalue().encode(rng.choice(["utf-8", "utf-8-sig", "gbk", "utf-16"]))
        for _ in range(rng.randint(1, 3)):
            data = mutate(rng, data)
        try:
            labels = read(data)
        except InputError:
            refused += 1
            continue
        told = labels.judgements.num_rows + len(labels.rejected) + labels.unanswered + labels.duplicates
        assert told + labels.blank == labels.rows, seed
        if not any("expected after" in row.reason for row in labels.rejected):
            assert labels.rows == records_in(data.decode(labels.encoding)), seed
        for row in labels.judgements.to_pylist():
            assert [row["anchor_id"], row["product_id"]] == asked[row["pair_id"]], seed
    assert refused < 500


def records_in(text):
    """Records after the header, as the forgiving csv reader and the majority delimiter see them."""
    delimiter = max(",;\t", key=text.splitlines()[0].count)
    return sum(1 for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) - 1
