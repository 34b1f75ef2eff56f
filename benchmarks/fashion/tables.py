"""Real fashion products as a shop would deliver them: a training table, three daily tables, and the truth.

    python benchmarks/fashion/tables.py --data DIR --folder DIR

Reads DIR/products.parquet and writes, always the same: `train.parquet` (the 40 % that are trained on),
`day1.parquet` to `day3.parquet`, `stuffed.parquet` (day 1's products whose titles lie), `planted.json` (what
ingest should count), `truth.parquet` (which listings are one item), `queries.parquet` and `mmprod.toml`.

No product of the days has a picture (pixel by pixel) or a title of the training table.
"""

import argparse
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageEnhance

from mmprod.datasets.images.images import decode
from mmprod.datasets.text import normalise_title

Row = dict[str, Any]

DAYS = [datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
TRAINED_ON, FIRST_DAY, SECOND_DAY = 0.4, 0.8, 0.9
REMOVED, TITLE, PICTURE, FIELDS = 0.03, 0.06, 0.08, 0.11  # bounds of the shares that change on a day
COPIES, STUFFED, LEAST = 500, 0.3, 10
KINDS = ("added", "picture", "title", "fields", "relisted", "stale", "unchanged")
COPY = "R"  # begins the id of an item's second listing
SEASONS = ("Spring", "Summer", "Fall", "Winter")

CONFIG = """\
# A foreign product table: which of its columns is what. `title` and `image` are called so there, too.
lake = "lake"

[table]
category = ["category_l1", "category_l2", "category_l3"]
attributes = ["gender", "colour", "season", "usage"]

[table.columns]
product_id = "sku"
updated_at = "modified"
"""


def share(sku: str, purpose: str) -> float:
    """A number in [0, 1) that depends on nothing but the product and the purpose."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {sku}".encode()).digest()[:8]) / 2**64


def generator(sku: str, purpose: str) -> np.random.Generator:
    return np.random.default_rng(int(share(sku, purpose) * 2**53))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    rows = pq.read_table(given.data / "products.parquet").to_pylist()
    training = [row for row in rows if share(row["sku"], "split") < TRAINED_ON]
    catalogue = never_seen(rows, training)
    given.folder.mkdir(parents=True, exist_ok=True)
    write(given.folder / "train.parquet", captioned(training))
    write_days(given.folder, catalogue)
    first = [row for row in catalogue if share(row["sku"], "day") < FIRST_DAY]
    lying = [stuff(row) for row in first if share(row["sku"], "stuffed") < STUFFED]
    write(given.folder / "stuffed.parquet", lying)
    write(given.folder / "queries.parquet", queries(first, training))
    (given.folder / "mmprod.toml").write_text(CONFIG)


def write(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def never_seen(rows: Iterable[Row], training: Iterable[Row]) -> list[Row]:
    """The products that share neither picture nor title with the training ones, as of the first day."""
    training = list(training)
    pictures, titles = {pixels(row) for row in training}, {name(row) for row in training}
    skus = {row["sku"] for row in training}
    return [
        {**row, "modified": DAYS[0]}
        for row in rows
        if row["sku"] not in skus and pixels(row) not in pictures and name(row) not in titles
    ]


def pixels(row: Row) -> bytes:
    picture = decode(row["image"])
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).digest()


def name(row: Row) -> str:
    return normalise_title(row["title"]).casefold()


def captioned(training: Iterable[Row]) -> list[Row]:
    """Each training picture twice: with its title, and with its attributes as its caption."""
    rows = []
    for row in training:
        pair = {"sku": row["sku"], "image": row["image"], "modified": DAYS[0]}
        levels = {key: row[key] for key in ("category_l1", "category_l2", "category_l3")}
        levels |= {key: row[key] for key in ("gender", "colour", "season", "usage")}
        rows += [{**pair, **levels, "title": row["title"]}, {**pair, **levels, "title": asked(row)}]
    return rows


def asked(row: Row) -> str:
    """How one asks for such a product: "navy blue men shirts"."""
    return " ".join(row[key] or "" for key in ("colour", "gender", "category_l3")).lower()


def write_days(folder: Path, catalogue: list[Row]) -> None:
    """Write the daily tables, what ingest should count in them, and which listings are one item."""
    first, new, newer = arrivals(catalogue)
    second, changed, gone = next_day(first, DAYS[1])
    calm, _, _ = next_day([row for row in second if row["sku"] not in changed], DAYS[2])
    stale = set(sorted(changed)[::2])  # delivered once more as they were on the first day
    late = [row if row["sku"] in stale else changed[row["sku"]] for row in first if row["sku"] in changed]
    back = {row["sku"]: {**row, "modified": DAYS[2]} for row in gone[::2]}
    middle = second + new
    last = calm + late + [*back.values()] + new + newer + copies(calm)
    planted = [count([], first), count(first, middle), count(middle, last, stale, set(back))]
    for number, (day, rows, counts) in enumerate(zip(DAYS, (first, middle, last), planted, strict=True), 1):
        counts |= {"day": f"{day:%Y-%m-%d}", "file": f"day{number}.parquet"}
        write(folder / f"day{number}.parquet", rows)
    (folder / "planted.json").write_text(json.dumps(planted, indent=1))
    items = [{"product_id": row["sku"], "item": row["sku"].removeprefix(COPY)} for row in last]
    write(folder / "truth.parquet", items)


def arrivals(catalogue: Iterable[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """The products that are there on the first day, and those that come on the second and the third."""
    days: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in catalogue:
        at = share(row["sku"], "day")
        days[(at >= FIRST_DAY) + (at >= SECOND_DAY)].append(row)
    return days


def copies(rows: Iterable[Row]) -> list[Row]:
    """`COPIES` products that never changed, listed once more."""
    calm = [row for row in rows if row["modified"] == DAYS[0] and row["title"]]
    return [relist(row) for row in sorted(calm, key=lambda row: share(row["sku"], "copy"))[:COPIES]]


def next_day(rows: Iterable[Row], day: datetime) -> tuple[list[Row], dict[str, Row], list[Row]]:
    """A day's rows, those of them that changed by sku, and the rows of the products that are gone."""
    kept, changed, gone = [], {}, []
    for row in rows:
        at = share(row["sku"], f"{day}")
        if at < REMOVED:
            gone.append(row)
            continue
        news = changes(row, at)
        kept.append(row | news | {"modified": day + timedelta(hours=6)} if news else row)
        if news:
            changed[row["sku"]] = kept[-1]
    return kept, changed, gone


def changes(row: Row, at: float) -> Row:
    """What a day changes of a product, by its place in [0, 1)."""
    if at < TITLE:
        return {"title": reworded(row["title"])} if row["title"] else {}
    if at < PICTURE:
        picture = decode(row["image"])
        return {"image": jpeg(picture.crop((2, 2, picture.width - 2, picture.height - 2)), 80)}
    if at < FIELDS:
        return {"season": SEASONS[SEASONS.index(row["season"] or "Winter") - 3]}
    return {}


def count(
    before: Iterable[Row],
    rows: Iterable[Row],
    stale: Set[str] = frozenset(),
    relisted: Set[str] = frozenset(),
) -> dict[str, Any]:
    """What ingest should find in a day's rows: the kind of each is what differs, picture before title."""
    known = {row["sku"]: row for row in before}
    found: Counter[str] = Counter()
    for row in rows:
        sku = row["sku"]
        old = known.pop(sku, None)
        found["stale" if sku in stale else "relisted" if sku in relisted else kind(old, row)] += 1
    return {name: found[name] for name in KINDS} | {"rows": found.total(), "removed": len(known)}


def kind(old: Row | None, new: Row) -> str:
    if old is None:
        return "added"
    parts = {"picture": "image", "title": "title", "fields": "season"}
    return next((part for part, column in parts.items() if old[column] != new[column]), "unchanged")


def relist(row: Row) -> Row:
    """The same item by another seller: other crop, light, watermark, compression and wording."""
    rng = generator(row["sku"], "relist")
    picture = decode(row["image"])
    width, height = picture.size
    left, top, right, bottom = rng.uniform(0, 0.09, 4) * (width, height, width, height)
    picture = picture.crop((int(left), int(top), width - int(right), height - int(bottom)))
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.75, 1.2))
    picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.8, 1.2))
    if rng.random() < 0.5:
        place = (rng.uniform(0, 0.4) * width, rng.uniform(0.1, 0.8) * height)
        ImageDraw.Draw(picture).text(place, "shop24", fill=(150, 150, 150), font_size=max(8, width // 6))
    words = row["title"].split()
    ways = (reworded(row["title"]), " ".join(words[: max(2, len(words) * 2 // 3)]), lie(row["title"], rng))
    title = ways[rng.integers(len(ways))]
    image = jpeg(picture, int(rng.integers(35, 80)))
    return {
        **row,
        "sku": COPY + row["sku"],
        "title": title,
        "image": image,
        "modified": DAYS[2],
    }


def jpeg(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def reworded(title: str) -> str:
    """The first word, often the brand, goes to the end."""
    first, *rest = title.split()
    return " ".join([*rest, "by", first])


_COLOURS = ("red", "black", "white", "navy blue", "green", "pink", "yellow", "brown")
_TYPES = ("shirt", "dress", "watch", "handbag", "casual shoes", "jeans", "t-shirt", "sunglasses")


def lie(title: str, rng: np.random.Generator) -> str:
    """A title stuffed with two colours and two types that it does not speak of."""
    lies = [[word for word in words if word not in title.lower()] for words in (_COLOURS, _TYPES)]
    chosen = [word for words in lies for word in rng.choice(words, 2, replace=False)]
    return " ".join([title, rng.choice(("Men", "Women")), *chosen])


def stuff(row: Row) -> Row:
    title = lie(row["title"] or "", generator(row["sku"], "lie"))
    return {**row, "title": title, "modified": DAYS[0] + timedelta(hours=6)}


def queries(rows: Iterable[Row], training: Iterable[Row]) -> list[Row]:
    """Colour, gender and type with at least `LEAST` products: as the categories are called, and as the
    training titles call them most ("navy blue men shirt"), which is best for keyword search."""
    said = Counter(word for row in training for word in re.findall(r"[\w-]+", name(row)))
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row["colour"] and row["gender"] and row["category_l3"]:
            groups[asked(row), spoken(asked(row), said)].append(row["sku"])
    return [
        {"query": query, "spoken": words, "relevant": skus}
        for (query, words), skus in sorted(groups.items())
        if len(skus) >= LEAST
    ]


def spoken(query: str, said: Counter[str]) -> str:
    *words, last = query.split()
    forms = {last, last.removesuffix("s"), last.removesuffix("es"), last.replace("tshirts", "t-shirt")}
    return " ".join([*words, max(sorted(forms), key=lambda form: said[form])])


if __name__ == "__main__":
    main()
