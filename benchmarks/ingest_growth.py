"""How the cost of ingest grows: with what changed, not with what is stored.

    python benchmarks/ingest_growth.py [--sizes 100000,1000000] [--changed 1000] [--shards 2]

Builds a store of each size (rows of about 3 KB, durable), ingests its full day once more unchanged, then a
day on which only sales differ, then applies partial days of `--changed` changed rows to the stores in turn.
The ratio of the medians, largest store over smallest, is to stay below 1.5. Shards are written side by side
by as many processes as there are threads (OMP_NUM_THREADS). For comparison: what reading the table, hashing
its pictures by SHA-256 and writing its bytes with a sync take by themselves.
"""

import argparse
import datetime
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmprod.datasets.images.picture_source import PictureSource
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.schemas import PRODUCT, rows_to_batch
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.datasets.threads import threads

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
    ingest_day(store, table, day, full=full, pictures=PictureSource(), processes=threads())
    return time.perf_counter() - started


def told(what: str, rows: int, work: Callable[[], object]) -> None:
    """Do `work` and print rows a second and CPU time a row, that of its child processes included."""
    before, started = sum(os.times()[:4]), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - started, sum(os.times()[:4]) - before
    print(
        f"{rows:,} rows, {what}: {rows / seconds:,.0f} rows/s, {cpu / rows * 1e6:.1f} µs of CPU a row",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="100000,1000000", help="rows of the stores, with commas between")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--changed", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to make the stores (default: a temporary folder)")
    given = parser.parse_args()
    sizes = sorted(int(size) for size in given.sizes.split(","))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        stores = {size: build(Path(folder), size, given.shards) for size in sizes}
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for edition in range(1, given.rounds + 1):
            for size, store in stores.items():
                step = size // given.changed
                numbers = range(edition % step, size, step)[: given.changed]
                path = write_table(Path(folder) / "changed.parquet", numbers, edition)
                times[size].append(timed(store, path, FIRST + datetime.timedelta(edition + 2), full=False))
    medians = {size: statistics.median(times[size]) for size in sizes}
    for size, seconds in medians.items():
        print(
            f"{given.changed:,} changed rows in {size:,}: {seconds * 1000:.0f} ms, median of {given.rounds}"
        )
    ratio = medians[sizes[-1]] / medians[sizes[0]]
    print(f"ratio {ratio:.2f} (to stay below 1.5)")
    return 0 if ratio <= 1.5 else 1


def build(folder: Path, size: int, shards: int) -> Store:
    """A store of `size` products; prints what three full days cost, and what bounds them."""
    path, sold = folder / f"{size}.parquet", folder / "sold.parquet"
    write_table(path, range(size), 0)
    floors(path, size)
    store = Store.open(folder / f"store-{size}", shards)
    second, third = (FIRST + datetime.timedelta(days) for days in (1, 2))
    told("fresh, durable", size, lambda: timed(store, path, FIRST, full=True))
    told("unchanged", size, lambda: timed(store, path, second, full=True))
    more_sold(path, sold)
    encoded = store.head()
    told("other sales", size, lambda: timed(store, sold, third, full=True))
    print(f"changes for embedding by other sales: {sum(store.head()) - sum(encoded)}")
    path.unlink()
    sold.unlink()
    return store


def more_sold(path: Path, target: Path) -> None:
    """The same table with other sales."""
    with pq.ParquetFile(path) as table, pq.ParquetWriter(target, PRODUCT) as writer:
        for batch in table.iter_batches(STEP):
            sales = pc.add(batch["sales"], pa.scalar(7, pa.int64()))
            writer.write_batch(
                batch.set_column(PRODUCT.get_field_index("sales"), PRODUCT.field("sales"), sales)
            )


def floors(path: Path, size: int) -> None:
    """Print what reading, hashing and writing the table's bytes take without a store."""

    def read() -> None:
        with pq.ParquetFile(path, page_checksum_verification=True) as table:
            for _ in table.iter_batches(STEP):
                pass

    def hashed() -> None:
        picture = bytes(PICTURE_BYTES)
        for _ in range(size):
            hashlib.sha256(picture).digest()

    def written() -> None:
        data, target = bytes(STEP * 3_000), path.with_suffix(".floor")
        with target.open("wb") as file:
            for _ in range(size // STEP):
                file.write(data)
                os.fsync(file.fileno())
        target.unlink()

    told("only read", size, read)
    told("only pictures hashed", size, hashed)
    told("only written", size, written)


if __name__ == "__main__":
    sys.exit(main())
