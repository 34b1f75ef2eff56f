"""What the second day costs, when 1 % of the titles change and the sales of nearly all products.

    python benchmarks/daily_change.py [--products 200000] [--against PYTHON]

Products with a title, fields, sales and no picture; a small encoder of 256 numbers with random weights.
Ingest, embedding and three indexes are run as commands, day by day; their seconds and CPU-seconds are those
of the processes. With --against, the interpreter of an environment in which another version of mmprod is
installed, each step is done by both, one after the other, and the ratios of the second day are given.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from load.tables import show

STEPS = {
    "ingest": ("ingest", "--day", "{day}", "--table", "{table}"),
    "embed": ("embed",),
    "three indexes": ("index", "build"),
}
DAYS = {"2025-03-03": "day1.parquet", "2025-03-04": "day2.parquet"}
SETTINGS = """
lake = "lake"
[encoder]
model = "local-dir:../base"
[index]
max_similarity = 1.0
[profiles]
same_item = {image = 0.5, text = 0.5}
similar_item = {image = 0.7, text = 0.3}
selection = {image = 0.0, text = 1.0}
"""
CHANGED = 100  # one title in so many
STILL = 97  # one product in so many keeps its sales
COLOURS = ("white", "black", "navy blue", "sand", "olive", "coral")


class Cost(NamedTuple):
    """Seconds of a step, CPU-seconds, and what it said."""

    seconds: float
    cpu: float
    told: dict[str, object]


def rows(count: int, day: int) -> Iterator[pa.RecordBatch]:
    """The table of a day, 50,000 products at a time."""
    for start in range(0, count, 50_000):
        numbers = range(start, min(start + 50_000, count))
        titles = [
            f"{COLOURS[n % 6]} ceramic table lamp {n} with linen shade"
            + (" new" if day and n % CHANGED == 0 else "")
            for n in numbers
        ]
        yield pa.RecordBatch.from_pydict(
            {
                "product_id": [f"sku-{hashlib.md5(str(n).encode()).hexdigest()[:12]}" for n in numbers],
                "title": titles,
                "category": [f"Home > Lighting > Lamps {n % 50}" for n in numbers],
                "brand": [f"Brand {n % 97}" for n in numbers],
                "sales": [n % 1000 + (7 if day and n % STILL else 0) for n in numbers],
            }
        )


def prepare(folder: Path, count: int) -> None:
    """Write the tables of both days, and the encoder."""
    for day, name in enumerate(DAYS.values()):
        batches = rows(count, day)
        first = next(batches)
        with pq.ParquetWriter(folder / name, first.schema) as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
    words = ("make-base", "clip", "base", "--table", "day1.parquet", "--width", "256")
    subprocess.run([command(sys.executable), *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def command(python: str) -> Path:
    """The mmprod command of an environment."""
    return Path(python).absolute().with_name("mmprod")


def run(python: str, folder: Path, words: tuple[str, ...]) -> Cost:
    """Run a command of one environment in its own folder."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [command(python), *words, "--json"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(seconds, cpu, json.loads(done.stdout))


def measure(folder: Path, versions: dict[str, str]) -> dict[tuple[str, str, str], Cost]:
    """Cost by version, day and step."""
    found = {}
    for name in versions:
        (folder / name).mkdir()
        (folder / name / "mmprod.toml").write_text(SETTINGS)
    for day, table in DAYS.items():
        for step, words in STEPS.items():
            filled = tuple(word.format(day=day, table=f"../{table}") for word in words)
            for name, python in versions.items():
                found[name, day, step] = cost = run(python, folder / name, filled)
                print(f"{name} {day} {step}: {cost.seconds:.1f} s, {cost.cpu:.1f} CPU-s", file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=200_000)
    parser.add_argument("--against", help="the interpreter of an environment with another version")
    parser.add_argument("--folder", type=Path, help="where to make the lakes (default: a temporary folder)")
    given = parser.parse_args()
    versions = {"now": sys.executable} | ({"before": given.against} if given.against else {})
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        prepare(Path(folder), given.products)
        found = measure(Path(folder), versions)
    first, second = DAYS
    for name in versions:
        print(f"\n{name}, {given.products:,} products:")
        lines = [(step, found[name, first, step], found[name, second, step]) for step in STEPS]
        totals = [sum(cost.cpu for _, *both in lines for cost in both[day : day + 1]) for day in (0, 1)]
        show(
            ("step", "day 1, s", "CPU-s", "day 2, s", "CPU-s"),
            [
                *((step, a.seconds, a.cpu, b.seconds, b.cpu) for step, a, b in lines),
                (
                    "all",
                    sum(a.seconds for _, a, _ in lines),
                    totals[0],
                    sum(b.seconds for _, _, b in lines),
                    totals[1],
                ),
            ],
        )
    looked_at = sum(stage["rows"] for stage in found["now", second, "embed"].told["stages"])  # type: ignore[attr-defined]
    print(f"changes that embedding looked at on day 2: {looked_at:,} of {given.products:,} products")
    if given.against:
        sums = {
            name: [sum(found[name, second, step][i] for step in STEPS) for i in (0, 1)] for name in versions
        }
        shares = [now / before for now, before in zip(sums["now"], sums["before"], strict=True)]
        print(f"day 2 against before: {shares[0]:.2f} of the seconds, {shares[1]:.2f} of the CPU-seconds")
        return 0 if shares[0] <= 0.2 else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
