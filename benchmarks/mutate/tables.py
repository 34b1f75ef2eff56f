"""Damaged product tables: every line that was spared is the row that it was, or the table is refused."""

import csv
import io
import random
from collections import Counter
from pathlib import Path

from mutate.damage import damaged

from mmprod.datasets.tables.mapping import TableSpec
from mmprod.datasets.tables.table import open_table
from mmprod.storage.errors import InputError

HEADER = ("product_id", "title", "brand", "sales")
SPEC = TableSpec(columns={name: name for name in HEADER}, rows="one")
TITLES = (
    "Red mug",
    "Vase, tall",
    '24" screen',
    "Crème brûlée dish",
    "红色马克杯 大号",
    "Lamp; small",
    "Old 'cup'",
)
BRANDS = ("Ember", "", "北欧")
Row = tuple[str, str | None, str | None, int | None]


def outcome(rng: random.Random, folder: Path) -> str:
    """Of one table: taken, refused, or what went wrong with it."""
    rows = [(f"{n:05}", f"{rng.choice(TITLES)} {n}", rng.choice(BRANDS), n * 7) for n in range(60)]
    delimiter, encoding = rng.choice(",;\t|"), rng.choice(("utf-8", "utf-8-sig", "gb18030"))
    lines = [_line(cells, delimiter, encoding, rng.random() < 0.5) for cells in (HEADER, *rows)]
    rows_by_line = dict(zip(lines[1:], rows, strict=True))
    data = b"".join(lines)
    for _ in range(rng.randint(1, 2)):
        data = damaged(rng, data)
    path = folder / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf" * (encoding == "utf-8-sig") + data)
    try:
        found = Counter(_read(path))
    except InputError:
        return "refused"
    spared = [rows_by_line[line] for line in data.splitlines(keepends=True) if line in rows_by_line]
    if found.total() < len(spared) / 2:
        return "refused"  # by the guard against mass removal
    lost = Counter((i, title, brand or None, sales) for i, title, brand, sales in spared) - found
    return f"wrong: {path.read_bytes()!r} lost {list(lost)}" if lost else "taken"


def _line(cells: tuple[object, ...], delimiter: str, encoding: str, all_quoted: bool) -> bytes:
    """Between tabs quotes are letters; else as a writer of CSV has it."""
    text = io.StringIO()
    if delimiter == "\t":
        text.write("\t".join(map(str, cells)) + "\n")
    else:
        quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
        csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8" if encoding == "utf-8-sig" else encoding)


def _read(path: Path) -> list[Row]:
    rows = [row for batch in open_table(path, SPEC).batches() for row in batch.accepted.to_pylist()]
    names = [name for batch in open_table(path, SPEC).identities() for name in batch.ids]
    if names != [row["product_id"] for row in rows]:
        return []  # two readings of one file
    return [(row["product_id"], row["title"], row["brand"], row["sales"]) for row in rows]
