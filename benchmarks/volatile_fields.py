"""Where to keep sales and the like: in an LMDB value of each product, or in a columnar file a day.

    python benchmarks/volatile_fields.py [--products 1000000] [--rounds 3]

Both sides are durable (synced) and find a product in constant or logarithmic time. A night that changes
nearly all products, a partial day of 1,000 changes, 10,000 look-ups, and reading everything, in turns,
medians. The file: Arrow, sorted by id, memory-mapped; a change writes it anew. LMDB: values of the store's
size, written in order of id.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
from load.tables import show

VALUE = 121  # bytes of a product's state
KEY = 16
rng = np.random.default_rng(0)


class Lmdb:
    """A value of `VALUE` bytes a product; sales are eight of them."""

    def __init__(self, folder: Path, keys: np.ndarray) -> None:
        self.environment = lmdb.open(str(folder), map_size=1 << 34)
        self.keys = keys
        self.write(np.arange(len(keys)), np.zeros(len(keys), np.int64))

    def write(self, places: np.ndarray, sales: np.ndarray) -> None:
        values = np.zeros((len(places), VALUE), np.uint8)
        values[:, -8:] = sales.astype("<i8").view(np.uint8).reshape(-1, 8)
        data, keys = values.tobytes(), self.keys[places].tolist()
        for start in range(0, len(keys), 200_000):
            some = range(start, min(start + 200_000, len(keys)))
            with self.environment.begin(write=True) as txn, txn.cursor() as cursor:
                cursor.putmulti([(keys[i], data[i * VALUE : (i + 1) * VALUE]) for i in some])

    def find(self, keys: list[bytes]) -> np.ndarray:
        with self.environment.begin() as txn, txn.cursor() as cursor:
            found = b"".join(value[-8:] for _, value in cursor.getmulti(sorted(keys)))
        return np.frombuffer(found, "<i8")

    def everything(self) -> int:
        with self.environment.begin() as txn, txn.cursor() as cursor:
            found = b"".join(value[-8:] for value in cursor.iternext(keys=False))
        return int(np.frombuffer(found, "<i8").sum())


class File:
    """Two columns, sorted by id."""

    def __init__(self, folder: Path, keys: np.ndarray) -> None:
        folder.mkdir()
        self.path, self.keys = folder / "volatile.arrow", keys
        self.sales = np.zeros(len(keys), np.int64)
        self.write(np.arange(len(keys)), self.sales)

    def write(self, places: np.ndarray, sales: np.ndarray) -> None:
        now = self.sales.copy()
        now[places] = sales
        ids = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(KEY), len(self.keys), [None, pa.py_buffer(self.keys)]
        )
        table = pa.table({"product_id": ids, "sales": now})
        aside = self.path.with_suffix(".new")
        with aside.open("wb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)
        self.table = pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()
        self.sales = self.table["sales"].combine_chunks().to_numpy()

    def find(self, keys: list[bytes]) -> np.ndarray:
        found: np.ndarray = self.sales[np.searchsorted(self.keys, np.array(keys))]
        return found

    def everything(self) -> int:
        return int(self.sales.sum())


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    keys = np.sort(
        np.frombuffer(rng.integers(0x61, 0x7B, given.products * KEY, np.uint8).tobytes(), f"S{KEY}")
    )
    some = np.sort(rng.choice(len(keys), 1_000, replace=False))
    asked = keys[rng.choice(len(keys), 10_000, replace=False)].tolist()
    times: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sides = {"LMDB": Lmdb(Path(folder) / "lmdb", keys), "file": File(Path(folder) / "file", keys)}
        for number in range(given.rounds):
            sales = np.arange(len(keys)) + number
            works = {
                f"a night: {len(keys):,} changes": lambda side, new=sales: side.write(
                    np.arange(len(keys)), new
                ),
                "1,000 changes": lambda side, new=sales: side.write(some, new[some] + 1),
                "10,000 look-ups": lambda side: side.find(asked),
                "all read": lambda side: side.everything(),
            }
            for name, work in works.items():
                for title, side in sides.items():
                    took = seconds(lambda side=side, work=work: work(side))  # type: ignore[misc]
                    times.setdefault(name, {}).setdefault(title, []).append(took)
            assert sides["LMDB"].everything() == sides["file"].everything()
    rows = []
    for name, by_side in times.items():
        a, b = (statistics.median(by_side[title]) * 1000 for title in sides)
        rows.append((name, f"{a:,.1f} ms", f"{b:,.1f} ms", f"{a / b:.2f}"))
    show(("", "LMDB", "file", "ratio"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
