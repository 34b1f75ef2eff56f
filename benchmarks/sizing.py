"""What docs/sizing.md multiplies: bytes a product of each table and index, and rates of one core.

    OMP_NUM_THREADS=1 python benchmarks/sizing.py [--products 100000] [--width 512]

Two minutes. Vectors and pictures are drawn: bytes don't depend on them, the rate of decoding hardly does.
"""

import argparse
import datetime
import hashlib
import io
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.images.images import decode
from mmprod.datasets.images.picture_source import PictureSource
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.schemas import PRODUCT, embedding_schema, rows_to_batch
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.datasets.vectors import to_column
from mmprod.retrieval import index

STEP = 10_000
PAGE = 4096
LISTS, PROBED = 1024, 16
DAY = datetime.date(2025, 3, 3)
rng = np.random.default_rng(0)


def told(what: str, value: str) -> None:
    print(f"| {what} | {value} |", flush=True)


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def sku(number: int) -> str:
    """In no order, as ids of real products come: the store's pages are then not all full."""
    return f"sku-{hashlib.md5(str(number).encode()).hexdigest()[:12]}"


def product(number: int, edition: int) -> dict[str, object]:
    return {
        "product_id": sku(number),
        "title": f"Ceramic table lamp model {number} with linen shade, warm light, revision {edition}",
        "category": ["Home", "Lighting", "Table lamps"],
        "spu_id": f"spu-{number // 3}",
        "brand": f"Brand {number % 97}",
        "sales": edition,
        "attributes": [("colour", "white"), ("material", "ceramic"), ("height", f"{number % 60} cm")],
    }


def ingest(store: Store, path: Path, day: int, count: int, edition: int, full: bool) -> float:
    """Seconds to take in a day of `count` products; writing its table is not counted."""
    with pq.ParquetWriter(path, PRODUCT) as writer:
        for start in range(0, count, STEP):
            some = (product(number, edition) for number in range(start, start + STEP))
            writer.write_batch(rows_to_batch(some, PRODUCT))
    started = time.perf_counter()
    on = DAY + datetime.timedelta(day)
    ingest_day(store, open_table(path, TableSpec()), on, full=full, pictures=PictureSource())
    return time.perf_counter() - started


def measure_store(folder: Path, count: int) -> None:
    path, changed = folder / "day.parquet", count // 5
    with Store.open(folder / "store", shards=1) as store:
        seconds = ingest(store, path, 0, count, 0, True)
        told("store: rows/s, new products without pictures", f"{count / seconds:,.0f}")
        used = store.stats().bytes - store.stats().free_pages * PAGE
        told("store: bytes a product, picture and free pages not counted", f"{used / count:,.0f}")
        seconds = ingest(store, path, 1, count, 0, True)
        told("store: rows/s, nothing changed", f"{count / seconds:,.0f}")
        seconds = ingest(store, path, 2, changed, 1, False)
        told("store: rows/s, every row has a new title", f"{changed / seconds:,.0f}")


def unit(count: int, width: int) -> np.ndarray:
    """float32 [count, width], each row of unit length, around 2,000 centres."""
    centres = rng.standard_normal((2_000, width), np.float32)
    rows = centres[rng.integers(0, 2_000, count)] + 0.5 * rng.standard_normal((count, width), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embeddings(start: int, width: int) -> pa.Table:
    hashes = [pa.array([rng.bytes(16) for _ in range(STEP)], pa.binary(16)) for _ in range(2)]
    columns = [
        pa.array([sku(start + row) for row in range(STEP)]),
        *hashes,
        *(to_column(unit(STEP, width), np.ones(STEP, bool)) for _ in range(2)),
        pa.nulls(STEP, pa.string()),
        pa.array([True] * STEP),
    ]
    return pa.Table.from_arrays(columns, schema=embedding_schema(width))


def measure_embeddings(folder: Path, count: int, width: int) -> None:
    table = EmbeddingTable(folder / "embeddings", "f" * 64, width, 1)
    blocks = [embeddings(start, width) for start in range(0, count, STEP)]
    started = time.perf_counter()
    for block in blocks:
        table.upsert(block, (1,))
    told("embedding table: rows/s committed", f"{count / (time.perf_counter() - started):,.0f}")
    table.tidy()
    told(f"embedding table: bytes a product, width {width}", f"{size(table.path) / count:,.0f}")


def measure_index(folder: Path, count: int, dim: int) -> None:
    """Each factory, trained in few rounds: only bytes and rates are looked at."""
    vectors = unit(count, dim)
    for factory in ("Flat", f"IVF{LISTS},Flat", f"IVF{LISTS},SQ8"):
        built = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        lists = faiss.try_extract_index_ivf(built)
        if lists is not None:
            lists.cp.niter, lists.nprobe = 2, PROBED
        built.train(vectors[: 40 * LISTS])
        started = time.perf_counter()
        built.add(vectors)
        added = time.perf_counter()
        index.write(built, folder / "index.faiss")
        told(f"index {factory}, {dim}: bytes a vector", f"{size(folder / 'index.faiss') / count:,.0f}")
        if lists is not None:
            searched = time.perf_counter()
            built.search(vectors[:512], 11)
            told(f"index {factory}, {dim}: added/s", f"{count / (added - started):,.0f}")
            told(f"index {factory}, {dim}: searches/s", f"{512 / (time.perf_counter() - searched):,.0f}")


def measure_pictures() -> None:
    transform = open_clip.image_transform((224, 224), is_train=False)
    for side in (348, 800):
        small = rng.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((side, side)).save(file, "JPEG", quality=90)
        started = time.perf_counter()
        for _ in range(100):
            transform(decode(file.getvalue()))
        told(f"pictures/s decoded and made ready, {side} px", f"{100 / (time.perf_counter() - started):,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512, help="of the encoder")
    given = parser.parse_args()
    print("| one core | |\n|---|---|")
    measure_pictures()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_store(folder, given.products)
        measure_embeddings(folder, given.products, given.width)
        measure_index(folder, given.products, 2 * given.width)


if __name__ == "__main__":
    main()
