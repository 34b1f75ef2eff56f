"""Damaged label files: every line that the damage spared is the answer that it was, or is told of."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from mutate.damage import damaged

from mmprod.datasets.schemas import QUESTION
from mmprod.eval.labels import read_labels
from mmprod.storage.errors import InputError

NOW = datetime(2025, 3, 1, tzinfo=UTC)
IDS = ("0012345", "628000000000000", "1E5", "款式", "a,b", 'c"d', "NA", "-7")


def questions() -> pa.Table:
    """40 pairs that reviewers are asked about."""
    rows = [
        {
            **dict.fromkeys(("question_id", "pair_id"), f"p{n:020x}"),
            "anchor_id": IDS[n % 8],
            "product_id": f"{IDS[n * 3 % 8]}-{n}",
            "role": "asked",
            "reviewer": "",
        }
        for n in range(40)
    ]
    return pa.Table.from_pylist(rows, schema=QUESTION)


def outcome(rng: random.Random, folder: Path, asked: pa.Table) -> str:
    """Of one file: taken, refused, or what went wrong with it."""
    delimiter, encoding = rng.choice(",;\t"), rng.choice(("utf-8", "utf-8-sig", "gb18030"))
    header = delimiter.join(("pair_id", "anchor_id", "product_id", "label", "reviewer"))
    lines = {}
    for pair in asked.to_pylist():
        cells = (pair["pair_id"], pair["anchor_id"], pair["product_id"], rng.choice("10"), "安娜")
        lines[
            (delimiter.join(map(_quoted, cells)) + "\n").encode(
                "gb18030" if encoding == "gb18030" else "utf-8"
            )
        ] = cells
    data = (header + "\n").encode() + b"".join(lines)
    for _ in range(rng.randint(1, 2)):
        data = damaged(rng, data)
    path = folder / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" * (encoding == "utf-8-sig") + data)
    try:
        read = read_labels(path, asked, NOW)
    except InputError:
        return "refused"
    told = {row.line for row in read.rejected}
    taken = {(row["pair_id"], row["label"] in (1, True, "1", "same")) for row in read.judgements.to_pylist()}
    for line in data.splitlines(keepends=True):
        if (cells := lines.get(line)) and not _accounted(cells, taken, told, read.duplicates):
            return f"wrong: {path.read_bytes()!r} lost {cells}"
    return "taken"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',;\t"') else cell


def _accounted(cells: tuple[str, ...], taken: set[tuple[str, bool]], told: set[int], again: int) -> bool:
    """Whether an answer was taken as it is, or its pair was not and a row was told of instead."""
    others = {pair for pair, _ in taken}
    return (cells[0], cells[3] == "1") in taken or (cells[0] not in others and bool(told or again))
