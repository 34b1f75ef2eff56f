"""550 label files with accidents: refused whole, or every row of the file accounted for.

What is to be found in a file is counted here, by other means than the product's: the question ids on each
physical line and a forgiving reader's records for CSV, the row elements of the XML for XLSX, `json.loads`
for Label Studio.
"""

import csv
import io
import json
import random
import re
import xml.etree.ElementTree as ElementTree
import zipfile

import pytest

from mmprod.eval.labels import write_rejected
from mmprod.storage.errors import InputError

ENCODINGS = ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16", "utf-16-le", "cp1252", "cp1252"]
SHEET = "xl/worksheets/sheet1.xml"
NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
SCRAPS = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b";",
    b"\t",
    b"\0",
    b"'",
    b"1.2E+10",
    b"<",
    b"}",
    b"]",
    b'""',
    b"\xff",
    b"=",
]
CELLS = [
    "",
    " ",
    "1",
    "0",
    "?",
    "1.2E+10",
    "Total:",
    "=1+1",
    "x" * 40_000,
    '"',
    "a\nb",
    "12345",
    "ann",
    "是",
    "Müller",
    "Zoë",
    '="0012345"',
    "\u200b",
    "\u00a0",
    "1_000",
]
ABOVE = ["", "", "", "sep=,\n", "sep=;\n", "Answers of the week\n", '"Label them, please"\n\n']


def mutate_cells(rng, rows):
    """One of the accidents that happen to rows and cells in a spreadsheet; the header is spared mostly."""
    i, j = (rng.randrange(rng.random() > 0.05, len(rows)) for _ in range(2))
    at = rng.randrange(7)
    kind = rng.randrange(8)
    if kind == 0:
        rows.insert(i, list(rows[j]))
    elif kind == 1:
        rows[i], rows[j] = rows[j], rows[i]
    elif kind == 2:
        rows.insert(i + 1, rng.choice([[], [""] * 7, ["Total:", "30"], ["p"] * 7, ["", "", "", "", "", "1"]]))
    elif kind == 3:
        del rows[i][at:]
    elif kind == 4:
        rows[i].insert(at, rng.choice(CELLS))
    elif kind == 5:
        for row, cell in zip(rows, [row[at] if at < len(row) else "" for row in rows[1:]], strict=False):
            row[at : at + 1] = [cell]  # a column slipped by one row
    else:
        rows[i][at : at + 1] = [rng.choice(CELLS)]


def mutate_bytes(rng, data):
    """One of the accidents that happen to bytes of a file on its way."""
    at, to = sorted(rng.randrange(len(data)) for _ in range(2))
    kind = rng.randrange(7)
    if kind == 0:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + rng.choice(SCRAPS) + data[at:]
    if kind == 2:
        return data[:to]
    if kind == 3:
        return data[:at] + data[min(to, at + 60) :]
    if kind == 4:
        return data + data[at:to]
    lines = data.split(b"\n")
    i, j = (rng.randrange(len(lines)) for _ in range(2))
    lines[i : i + 1] = [lines[j], lines[i]] if kind == 5 else [lines[i].replace(b",", b";", 3)]
    return b"\n".join(lines)


@pytest.fixture
def mutated(sheet, forms):
    """Rows of cells with up to three accidents, by a seed."""

    def make(rng):
        rows = forms.answered(sheet)
        for row in rows[1:]:
            row[5] = rng.choice(["1", "0", "1", "0", "", "x"])
        for _ in range(rng.randint(0, 3)):
            mutate_cells(rng, rows)
        return rows

    return make


def judge(read, data, tmp_path, questions, seed):
    """The file as read, None where it is refused; what holds for every one is checked."""
    try:
        labels = read(data)
    except InputError as refused:
        assert len(str(refused)) > 20, seed
        return None
    counts = dict(labels.counts)
    swapped, rows, protected = (counts.pop(name) for name in ("swapped", "rows", "protected"))
    assert sum(counts.values()) == rows and max(swapped, protected) <= counts["accepted"], seed
    asked = {q["pair_id"]: {q["anchor_id"], q["product_id"]} for q in questions.to_pylist()}
    for row in labels.judgements.to_pylist():
        assert {row["anchor_id"], row["product_id"]} == asked[row["pair_id"]], seed
    write_rejected(tmp_path / "rejected.csv", labels)
    given_back = list(csv.reader(io.StringIO((tmp_path / "rejected.csv").read_text("utf-8-sig"), newline="")))
    assert [int(row[0]) for row in given_back[1:]] == [row.line for row in labels.rejected], seed
    return labels


def encoded(rng, rows, forms):
    """Rows as CSV bytes in one of the encodings, maybe below a title; what it doesn't have becomes "?"."""
    delimiter = rng.choice(",,,;\t")
    text = rng.choice(ABOVE) + forms.csv(rows, delimiter=delimiter).decode()
    return text.encode(rng.choice(ENCODINGS), errors="replace")


@pytest.mark.parametrize("share", range(6))
def test_csv_files(mutated, forms, read, tmp_path, questions, share):
    refused = 0
    for seed in range(share * 50, share * 50 + 50):
        rng = random.Random(seed)
        data = encoded(rng, mutated(rng), forms)
        for _ in range(rng.randint(0, 2)):
            data = mutate_bytes(rng, data)
        labels = judge(read, data, tmp_path, questions, seed)
        if labels is None:
            refused += 1
            continue
        if "pair_id" not in labels.header:
            continue  # the products told the pairs
        text = data.decode(labels.encoding)
        text = text[text.index("pair_id") - text[: text.index("pair_id")].endswith(('"', "'")) :]
        lines = re.split("\r\n|\r|\n", text)
        told = set(labels.judgements["pair_id"].to_pylist())
        told |= set(re.findall("p[0-9a-f]{20}", str([row.cells for row in labels.rejected])))
        told |= {"p" + "0" * 18 + "1d"}  # the repeat's judgement names the first pair
        silent = [line for line in lines[1:] if not told.issuperset(re.findall("p[0-9a-f]{20}", line))]
        assert len(silent) <= labels.unanswered, seed
        if not any("expected after" in row.reason for row in labels.rejected):
            assert labels.rows == records_in(text), seed
    assert refused < 35


def test_files_that_a_program_saved_are_read_in_their_encoding_or_refused(mutated, forms, read):
    """Without accidents to the bytes: what is read is what was written."""
    read_as = dict.fromkeys(ENCODINGS, 0)
    for seed in range(3000, 3200):
        rng = random.Random(seed)
        rows, encoding = mutated(rng), rng.choice(ENCODINGS)
        for row in rows[1:]:
            row[6:7] = [
                rng.choice(["Müller", "Zoë", "Peña", "João"] if encoding == "cp1252" else ["小王", "李娜"])
            ]
        data = forms.csv(rows).decode().encode(encoding, errors="replace")
        try:
            labels = read(data)
        except InputError:
            continue
        assert data.decode(labels.encoding) == data.decode(encoding), seed
        read_as[encoding] += 1
    assert min(read_as.values()) > 10, read_as


def records_in(text):
    """Records after the header, as the forgiving csv reader and the majority delimiter see them."""
    delimiter = max(",;\t", key=text.splitlines()[0].count)
    return sum(1 for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) - 1


@pytest.mark.parametrize("share", range(5))
def test_workbooks(mutated, forms, read, tmp_path, questions, share):
    """A third with accidents to rows, a third to the XML (packed again), a third to the file."""
    refused = 0
    for seed in range(1000 + share * 30, 1000 + share * 30 + 30):
        rng = random.Random(seed)
        data = forms.xlsx(mutated(rng))
        if seed % 3 == 1:
            data = repacked(data, lambda xml, rng=rng: mutate_bytes(rng, xml))
        elif seed % 3 == 2:
            data = mutate_bytes(rng, data)
        labels = judge(read, data, tmp_path, questions, seed)
        if labels is None:
            refused += 1
            continue
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            xml = ElementTree.fromstring(archive.read(SHEET))
        stored = list(xml.iter(f"{NAMESPACE}row"))
        head = next(i for i, row in enumerate(stored) if "".join(row.itertext()).strip())
        assert labels.rows == len(stored) - head - 1, seed
    assert refused < 25


def repacked(data, edit):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, edit(old.read(name)) if name == SHEET else old.read(name))
    return out.getvalue()


@pytest.mark.parametrize("share", range(5))
def test_exports_of_label_studio(mutated, forms, read, tmp_path, questions, share):
    """Half with accidents to values, half to the bytes."""
    refused = 0
    for seed in range(2000 + share * 20, 2000 + share * 20 + 20):
        rng = random.Random(seed)
        rows = [[*row, "", "", "", "", "", "", ""][:7] for row in mutated(rng)]
        rows[0] = ["pair_id", "anchor_id", "anchor_title", "product_id", "product_title", "label", "reviewer"]
        tasks = forms.tasks(rows)
        if seed % 2:
            for _ in range(3):
                replace_value(rng, tasks)
            data = json.dumps(tasks, indent=rng.choice([None, 1])).encode()
        else:
            data = mutate_bytes(rng, json.dumps(tasks, ensure_ascii=False, indent=1).encode())
        labels = judge(read, data, tmp_path, questions, seed)
        if labels is None:
            refused += 1
            continue
        tasks = json.loads(data.decode(labels.encoding))
        assert labels.rows == sum(annotations_of(task) for task in tasks), seed
    assert refused < 15


def replace_value(rng, node):
    """Put something else in one place of the tree."""
    places = list(node) if isinstance(node, dict) else range(len(node))
    place = rng.choice(places)
    if isinstance(node[place], (dict, list)) and node[place] and rng.random() < 0.8:
        replace_value(rng, node[place])
    else:
        node[place] = rng.choice([None, 1, -1.5e300, "", "same", [], {}, [[1]], {"a": None}, True, "\ud800"])


def annotations_of(task):
    if (
        isinstance(task, dict)
        and isinstance(task.get("data"), dict)
        and isinstance(task.get("annotations"), list)
    ):
        return len(task["annotations"]) or 1
    return 1
