"""A million label rows to figures, against reading and scoring them without any care.

    python benchmarks/evaluate_labels.py [--anchors 100000] [--runs 3]

Writes a recall table (10 neighbours each, 20 categories) and a label file about all of it, then runs
`mmprod evaluate recall TABLE LABELS` and, as a baseline, pandas.read_csv with trec_eval's P@10 and AP@10
through ir-measures: no check of a row, no category, no interval, no reviewer. Runs take turns, each in a
process of its own; told are medians, the ratio, and the largest resident size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

DEPTH = 10
BASELINE = """
import sys, ir_measures, pandas
recall, labels = sys.argv[1:]
run = pandas.read_parquet(recall, columns=["anchor_id", "product_id", "score"])
run.columns = ["query_id", "doc_id", "score"]
read = pandas.read_csv(labels, dtype=str)
qrels = pandas.DataFrame({"query_id": read.anchor_id, "doc_id": read.product_id})
qrels["relevance"] = (read.label == "same").astype(int)
print(ir_measures.calc_aggregate([ir_measures.P @ 10, ir_measures.AP @ 10], qrels, run))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anchors", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recall, labels = write(Path(folder), given.anchors)
        program = Path(sys.executable).with_name("mmprod")
        ways = {
            "mmprod evaluate recall": [program, "evaluate", "recall", recall, labels, "--json"],
            "pandas + ir-measures": [sys.executable, "-c", BASELINE, recall, labels],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(given.runs):
            for name, command in ways.items():
                found[name].append(timed(command, Path(folder)))
        tell(found, given.anchors * DEPTH)


def write(folder: Path, anchors: int) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    anchor = np.repeat(np.arange(anchors), DEPTH)
    rank = np.tile(np.arange(1, DEPTH + 1), anchors)
    product = (anchor + rank * 7919) % (anchors * DEPTH) + anchors
    ids = [
        pa.array(np.char.add(letter, number.astype(str)))
        for letter, number in (("A", anchor), ("P", product))
    ]
    columns = {"anchor_id": ids[0], "product_id": ids[1], "rank": rank, "score": 1 - rank / 100}
    columns |= {"category": np.char.add("Shop > ", (anchor % 20).astype(str)), "sales": anchor % 997}
    pq.write_table(pa.table(columns), folder / "recall.parquet")
    same = np.where(rng.random(len(rank)) < 1 / (1 + 0.3 * rank), "same", "different")
    people = rng.choice(["anna", "ben", "chen"], len(rank))
    answers = {"anchor_id": ids[0], "product_id": ids[1], "label": same, "reviewer": people}
    pv.write_csv(pa.table(answers), folder / "labels.csv")
    return folder / "recall.parquet", folder / "labels.csv"


def timed(command: list[object], folder: Path) -> tuple[float, float]:
    """Seconds and GB of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"failed: {command}")
    return time.perf_counter() - start, usage.ru_maxrss / 1e6


def tell(found: dict[str, list[tuple[float, float]]], rows: int) -> None:
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in found.items()}
    print(f"{rows:,} label rows{'seconds':>20}{'GB':>8}")
    for name, runs in found.items():
        print(f"{name:24}{medians[name]:>13.1f}{max(size for _, size in runs):>8.2f}")
    ours, baseline = medians.values()
    print(json.dumps({"ratio": round(ours / baseline, 2), "machine": f"{os.cpu_count()} cores"}))


if __name__ == "__main__":
    main()
