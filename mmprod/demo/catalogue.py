"""The sample marketplace as files: three daily tables, training pairs, queries and the truth behind them.

The daily tables do not contain the truth (which listings show the same item, and what its picture shows);
only truth.parquet does.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets.schemas import PRODUCT
from mmprod.demo.days import Day, plan_days
from mmprod.demo.hostile import UNUSABLE, spoiled
from mmprod.demo.items import Item, make_items
from mmprod.demo.listings import Listing
from mmprod.demo.queries import make_queries
from mmprod.demo.studio import Order, draw_all
from mmprod.demo.titles import training_title
from mmprod.demo.vocabulary import KINDS
from mmprod.storage.errors import InputError

log = logging.getLogger(__name__)

LEAST_ITEMS = 60  # fewer are not enough for each kind of change
PAIRS_PER_ITEM = 4  # training pairs
TEXTS = 12  # searches to ask reviewers about
_ITEM_COLUMNS = ("item_id", "type", "colour", "pattern", "material", "style")

DELIVERED = pa.schema([field.with_nullable(True) for field in PRODUCT])
"""PRODUCT as sellers deliver it: some rows have no id."""

TRUTH = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in _ITEM_COLUMNS),
        pa.field("stuffed", pa.bool_(), nullable=False),  # its title names what it is not
    ]
)


def render_catalogue(
    folder: Path, items: int = 1500, seed: int = 7, workers: int | None = None, spu: bool = False
) -> None:
    """Write the sample marketplace of `items` items into `folder`, made if missing; same seed, same content.

    - day1.parquet, day2.parquet, day3.parquet: full tables in schema PRODUCT, about 1.5 products an item
    - train.parquet: 4 pairs an item in schema PRODUCT, of other items; attributes say what the picture shows
    - truth.parquet: schema TRUTH, every product of the three days
    - queries.parquet: schema QUERY; texts.txt: some of them, one a line
    - planted.json: for each day its file, its date and the counts that ingest should report
    `workers` processes draw (None: one per core). With `spu`, listings of one item have the same `spu_id`, as
    in shops where sellers share a product page. Raises: InputError below 60 items.
    """
    if items < LEAST_ITEMS:
        raise InputError(f"items={items}: the sample catalogue needs at least {LEAST_ITEMS}")
    folder.mkdir(parents=True, exist_ok=True)
    days = plan_days(make_items(items, seed, "I"), seed)
    jpegs = _draw_days(days, workers)
    for number, day in enumerate(days, start=1):
        rows = [_row(row, jpegs) | {"spu_id": row.item.item_id if spu else None} for row in day.rows]
        _write(pa.Table.from_pylist(rows, DELIVERED), folder / f"day{number}.parquet")
    _write(_training_pairs(items * PAIRS_PER_ITEM, seed, workers), folder / "train.parquet")
    _write(_truth(days), folder / "truth.parquet")
    queries = make_queries(_shown(days[-1]), seed)
    _write(queries, folder / "queries.parquet")
    (folder / "texts.txt").write_text("\n".join(queries["query"].to_pylist()[:TEXTS]) + "\n", "utf-8")
    (folder / "planted.json").write_text(json.dumps(_planted(days), indent=1) + "\n")
    log.info("sample catalogue: %d items, %d pictures in %s", items, len(jpegs), folder)


def _draw_days(days: list[Day], workers: int | None) -> dict[Order, bytes]:
    orders = list(dict.fromkeys((row.item, row.shot) for day in days for row in day.rows))
    return dict(zip(orders, draw_all(orders, workers), strict=True))


def _row(listing: Listing, jpegs: dict[Order, bytes]) -> dict[str, object]:
    return {
        "product_id": listing.product_id,
        "title": listing.title,
        "image": spoiled(listing.broken, jpegs[listing.item, listing.shot]),
        "category": list(KINDS[listing.item.type].category),
        "brand": listing.brand,
        "sales": listing.sales,
        "updated_at": listing.updated_at,
        "attributes": [("price", listing.price)],
    }


def _training_pairs(count: int, seed: int, workers: int | None) -> pa.Table:
    """Pairs of items that the daily tables do not have: the same words, other geometry and shade."""
    rng = np.random.default_rng([seed, 5])
    items = make_items(count, seed + 1_000_003, "T")
    jpegs = draw_all([(item, number) for number, item in enumerate(items)], workers)
    rows = [
        {
            "product_id": item.item_id,
            "title": training_title(item, rng),
            "image": jpeg,
            "category": list(KINDS[item.type].category),
            "attributes": [(name, str(getattr(item, name))) for name in _ITEM_COLUMNS[1:]],
        }
        for item, jpeg in zip(items, jpegs, strict=True)
    ]
    return pa.Table.from_pylist(rows, PRODUCT)


def _truth(days: list[Day]) -> pa.Table:
    latest: dict[str, Listing] = {}
    for day in days:
        latest |= day.live
    rows = [
        {
            "product_id": id_,
            **{name: getattr(row.item, name) for name in _ITEM_COLUMNS},
            "stuffed": row.stuffed,
        }
        for id_, row in sorted(latest.items())
    ]
    return pa.Table.from_pylist(rows, TRUTH)


def _shown(day: Day) -> Iterable[Item]:
    return (row.item for row in day.live.values() if row.broken not in UNUSABLE)


def _planted(days: list[Day]) -> list[dict[str, object]]:
    return [
        {"file": f"day{number}.parquet", "day": day.date.date().isoformat(), **day.planted}
        for number, day in enumerate(days, start=1)
    ]


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, write_page_checksum=True, row_group_size=1000)
