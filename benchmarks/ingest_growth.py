"""How the cost of ingest grows: with what changed, not with what is stored.

    python benchmarks/ingest_growth.py [--sizes 20000,200000] [--changed 1000] [--rounds 7]

Builds a store of each size (rows of about 3 KB, durable), ingests its full day once more unchanged, then
applies partial days of `--changed` changed rows to the stores in turn. The ratio of the medians, largest
store over smallest, is to stay below 2.
"""

import argparse
import datetime
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from mmprod.datasets.images.picture_source import PictureSource
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.schemas import PRODUCT, rows_to_batch
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.table import TableSpec, open_table

FIRST = datetime.date(2024, 1, 1)
PICTURE_BYTES = 2_700
STEP = 10_000


def rows(numbers: Iterable[int], edition: int) -> Iterator[dict[str, object]]:
    """Products by number; every edition has another picture, title and sales figure."""
    for i in numbers:
        seed = hashlib.sha256(f"{i} {edition}".encode()).digest()
        yield {
            "product_id": f"sku-{hashlib.md5(str(i).encode()).hexdigest()[:12]}",
            "title": f"Ceramic table lamp model {i} with linen shade, warm light, revision {edition}",
            "image": b"\xff\xd8\xff\xe0" + seed * (PICTURE_BYTES // 32),
            "category": ["Home", "Lighting", "Table lamps"],
            "spu_id": f"spu-{i // 3}",
            "brand": f"Brand {i % 97}",
            "sales": edition,
            "attributes": [("colour", "white"), ("material", "ceramic"), ("height", f"{i % 60} cm")],
        }


def write_table(path: Path, numbers: Sequence[int], edition: int) -> Path:
    """A day's table as a Parquet file."""
    with pq.ParquetWriter(path, PRODUCT) as writer:
        for start in range(0, len(numbers), STEP):
            writer.write_batch(rows_to_batch(rows(numbers[start : start + STEP], edition), PRODUCT))
    return path


def timed(store: Store, path: Path, day: datetime.date, full: bool) -> float:
    """Seconds to ingest a table, with opening it."""
    started = time.perf_counter()
    table = open_table(path, TableSpec())
    ingest_day(store, table, day, full=full, pictures=PictureSource())
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="20000,200000", help="rows of the stores, with commas between")
    parser.add_argument("--changed", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to make the stores (default: a temporary folder)")
    given = parser.parse_args()
    sizes = sorted(int(size) for size in given.sizes.split(","))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        stores = {size: build(Path(folder), size) for size in sizes}
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for edition in range(1, given.rounds + 1):
            for size, store in stores.items():
                step = size // given.changed
                numbers = range(edition % step, size, step)[: given.changed]
                path = write_table(Path(folder) / "changed.parquet", numbers, edition)
                times[size].append(timed(store, path, FIRST + datetime.timedelta(edition), full=False))
    medians = {size: statistics.median(times[size]) for size in sizes}
    for size, seconds in medians.items():
        print(
            f"{given.changed:,} changed rows in {size:,}: {seconds * 1000:.0f} ms, median of {given.rounds}"
        )
    ratio = medians[sizes[-1]] / medians[sizes[0]]
    print(f"ratio {ratio:.2f} (to stay below 2)")
    return 0 if ratio <= 2 else 1


def build(folder: Path, size: int) -> Store:
    """A store of `size` products, and what building and replaying it took."""
    path = write_table(folder / f"{size}.parquet", range(size), 0)
    store = Store.open(folder / f"store-{size}")
    fresh = timed(store, path, FIRST, full=True)
    replay = timed(store, path, FIRST, full=True)
    print(f"{size:,} rows: fresh {size / fresh:,.0f} rows/s durable, replay {size / replay:,.0f} rows/s")
    return store


if __name__ == "__main__":
    sys.exit(main())
