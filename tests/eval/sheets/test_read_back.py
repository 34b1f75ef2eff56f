"""What reviewers fill in is read back by the label reader, from every kind of sheet."""

import csv
import io
import json
from datetime import UTC, datetime

import openpyxl
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import QUESTION
from mmprod.eval.labels.read import read_labels
from mmprod.eval.sheets.csv_file import write_csv
from mmprod.eval.sheets.label_studio import write_label_studio
from mmprod.eval.sheets.page import write_html
from mmprod.eval.sheets.workbook import write_xlsx

LABELS = ["1", "0", "", "1"] * 3


@pytest.fixture
def questions(rows):
    asked = [
        {
            "question_id": row.question_id,
            "pair_id": f"p-{row.question_id}",
            "anchor_id": row.anchor.product_id,
            "product_id": row.product.product_id,
            "role": "asked",
            "reviewer": "",
        }
        for row in rows
    ]
    return pa.Table.from_pylist(asked, QUESTION)


def check(path, questions, reviewer="bo"):
    read = read_labels(path, questions, datetime(2026, 11, 21, tzinfo=UTC))
    assert not read.rejected
    assert (read.rows, read.judgements.num_rows, read.unanswered) == (12, 9, 3)
    told = {row["pair_id"]: row["label"] for row in read.judgements.to_pylist()}
    pairs = questions["pair_id"].to_pylist()
    assert told == {pair: label == "1" for pair, label in zip(pairs, LABELS, strict=True) if label}
    assert set(read.judgements["reviewer"].to_pylist()) == {reviewer}


def filled_csv(folder, rows):
    write_csv(folder / "s.csv", rows)
    header, *lines = csv.reader(io.StringIO((folder / "s.csv").read_text("utf-8-sig"), newline=""))
    filled = [[*line[:5], label, "bo"] for line, label in zip(lines, LABELS, strict=True)]
    with (folder / "filled.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *filled])
    return folder / "filled.csv"


def filled_xlsx(folder, rows, kind=str):
    write_xlsx(folder / "s.xlsx", rows)
    book = openpyxl.load_workbook(folder / "s.xlsx")
    for number, label in enumerate(LABELS, start=2):
        book["pairs"].cell(number, 6).value = kind(label) if label else None
        book["pairs"].cell(number, 7).value = "bo"
    book.save(folder / "filled.xlsx")
    return folder / "filled.xlsx"


def test_csv(tmp_path, rows, questions):
    check(filled_csv(tmp_path, rows), questions)


@pytest.mark.parametrize("kind", [str, int], ids=["typed as text", "typed as numbers"])
def test_xlsx(tmp_path, rows, questions, kind):
    check(filled_xlsx(tmp_path, rows, kind), questions)


@pytest.mark.slow
@pytest.mark.parametrize("filled", [filled_csv, filled_xlsx])
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_what_libreoffice_saves(tmp_path, rows, questions, libreoffice, filled, kind):
    check(libreoffice(filled(tmp_path, rows), kind), questions)


def test_page(browser, tmp_path, rows, questions):
    write_html(tmp_path / "s.html", rows, "week 47", "=bo")
    page = browser.new_page(accept_downloads=True)
    page.goto((tmp_path / "s.html").as_uri())
    page.evaluate("labels => labels.forEach((label) => answer(label || UNSURE))", LABELS)
    page.evaluate("el('done').close()")
    with page.expect_download() as download:
        page.evaluate("download()")
    download.value.save_as(tmp_path / "filled.csv")
    page.close()
    check(tmp_path / "filled.csv", questions, "=bo")


def test_label_studio(tmp_path, rows, questions):
    write_label_studio(tmp_path / "tasks.json", rows)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for task, label in zip(tasks, LABELS, strict=True):
        choice = [
            {
                "from_name": "label",
                "type": "choices",
                "value": {"choices": ["same" if label == "1" else "different"]},
            }
        ]
        task["annotations"] = [
            {"completed_by": {"email": "bo"}, "was_cancelled": not label, "result": choice if label else []}
        ]
    (tmp_path / "filled.json").write_text(json.dumps(tasks))
    check(tmp_path / "filled.json", questions)
