"""Questions whose ids are of every troublesome kind, the sheet that asks them, and files of all forms."""

import csv
import io
import json
from datetime import UTC, datetime

import openpyxl
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import QUESTION
from mmprod.eval.labels import read_labels
from mmprod.eval.sheets.sheet import COLUMNS, Row, Side

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
IDS = [
    "0012345",
    "628000000000000",
    "1E5",
    "MAR1",
    "=1+1",
    "-7",
    "'quoted",
    "款式",
    "a,b",
    'c"d',
    "x y",
    "NA",
]


@pytest.fixture(scope="session")
def questions() -> pa.Table:
    """30 of them; the last is the first asked again, its sides exchanged."""
    rows = []
    for i in range(29):
        name = f"p{i:020x}"
        ids = {"anchor_id": IDS[i % 12], "product_id": f"{IDS[(i * 5 + 3) % 12]}{i}"}
        rows.append({"question_id": name, "pair_id": name, **ids, "role": "asked", "reviewer": ""})
    first = rows[0]
    exchanged = {"anchor_id": first["product_id"], "product_id": first["anchor_id"]}
    rows.append(first | exchanged | {"question_id": f"p{29:020x}", "role": "repeat"})
    return pa.Table.from_pylist(rows, schema=QUESTION)


@pytest.fixture(scope="session")
def sheet(questions):
    """The rows of the sheet that asks `questions`, as lists of cells, the header first."""
    return [list(COLUMNS), *(_cells(question) for question in questions.to_pylist())]


def _cells(question):
    anchor, product = (
        Side(question[name], f"title of {question[name]}, 好", None) for name in ("anchor_id", "product_id")
    )
    return list(Row(question["question_id"], anchor, product).cells)


class Forms:
    """Rows of cells, the header first, as they come in from reviewers."""

    @staticmethod
    def answered(sheet, label="1", reviewer="ann"):
        return [list(sheet[0]), *([*row[:5], label, reviewer] for row in sheet[1:])]

    @staticmethod
    def csv(rows, encoding="utf-8", delimiter=","):
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter).writerows(rows)
        return text.getvalue().encode(encoding)

    @staticmethod
    def xlsx(*worksheets):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for rows in worksheets:
            worksheet = book.create_sheet()
            for row in rows:
                worksheet.append(row)
        data = io.BytesIO()
        book.save(data)
        return data.getvalue()

    @staticmethod
    def annotation(label, reviewer, **more):
        choice = {"type": "choices", "from_name": "label", "to_name": "pair", "value": {"choices": [label]}}
        return {"completed_by": reviewer, "was_cancelled": False, "result": [choice]} | more

    @classmethod
    def tasks(cls, rows):
        return [
            {
                "id": place,
                "data": dict(zip(rows[0][:5], row[:5], strict=True)),
                "annotations": [cls.annotation(row[5], row[6])],
            }
            for place, row in enumerate(rows[1:], 1)
        ]

    @classmethod
    def json(cls, rows):
        return json.dumps(cls.tasks(rows), ensure_ascii=False).encode()


@pytest.fixture(scope="session")
def forms():
    return Forms


@pytest.fixture
def answers(sheet, forms):
    """The sheet as ann sends it back: every pair the same. A copy to change."""
    return forms.answered(sheet)


@pytest.fixture
def read(tmp_path, questions):
    """Read bytes, text or rows of cells (as CSV) as a label file."""

    def read(content, asked=questions, **options):
        if isinstance(content, list):
            content = Forms.csv(content)
        path = tmp_path / "answers.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_labels(path, asked, NOW, **options)

    return read
