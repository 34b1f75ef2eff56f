"""Threads that add up: shards encoded side by side, and a training step beside other work.

    python benchmarks/threads.py [--products 600] [--rounds 3] [--steps 12]

Shards: `mmprod embed --shard 0…3` of one store, the four one after the other, and all at once, with their
share of the cores (as Airflow's tasks are told it, by OMP_NUM_THREADS) and without being told one.
CPU-seconds of all four processes, user and system.

Steps: seconds of a training step of the small encoder (256 pairs), alone and beside six processes that keep a
core each busy, as the program limits threads and as the libraries do without it (all cores, spinning).

The ways take turns; medians, ratios to the first. The machine should have nothing else to do.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from load.tables import show

from mmprod.datasets.threads import cores

SHARDS, LOAD = 4, 6
_STEP = """
import sys, time, statistics, numpy as np
if sys.argv[2] == "limited":
    from mmprod.datasets.threads import limit, share
    limit(share())
from mmprod.encoders.train import Pairs, Plan, tiny_config, train
pictures = np.random.default_rng(0).integers(0, 255, (512, 3, 72, 72), dtype=np.uint8)
titles = [f"steel mug number {n} with a handle, dishwasher safe" for n in range(512)]
times = [time.perf_counter()]
plan = Plan(steps=int(sys.argv[1]))
train(Pairs(pictures, titles), tiny_config(), plan, lambda *told: times.append(time.perf_counter()))
print(statistics.median(b - a for a, b in zip(times[3:], times[4:])))
"""
Way = Callable[[Sequence[list[str]]], float]


def environment(threads: int | None) -> dict[str, str]:
    """This process's variables, with a number of threads or without one."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return kept | ({"OMP_NUM_THREADS": str(threads)} if threads else {})


def one_after_the_other(commands: Sequence[list[str]]) -> float:
    return _cpu(commands, together=1, threads=None)


def side_by_side(commands: Sequence[list[str]]) -> float:
    """Each with its share."""
    return _cpu(commands, together=len(commands), threads=max(1, cores() // len(commands)))


def side_by_side_untold(commands: Sequence[list[str]]) -> float:
    """Each takes all cores, as nobody tells it of the others."""
    return _cpu(commands, together=len(commands), threads=None)


def _cpu(commands: Sequence[list[str]], together: int, threads: int | None) -> float:
    """CPU-seconds of the commands, so many at once."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for start in range(0, len(commands), together):
        running = [
            subprocess.Popen(line, env=environment(threads), stdout=subprocess.DEVNULL)
            for line in commands[start : start + together]
        ]
        codes = [process.wait() for process in running]
        if any(codes):
            raise SystemExit("a shard failed, see above")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shards(folder: Path, products: int, rounds: int) -> None:
    """Compare the ways to encode four shards."""
    mmprod = str(Path(sys.executable).with_name("mmprod"))

    def run(*words: str) -> None:
        subprocess.run([mmprod, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    (folder / "mmprod.toml").write_text(f'lake = "lake"\n[store]\nshards = {SHARDS}\n')
    run("sample-catalog", "shop", "--products", str(products))
    run("train", "--table", "shop/train.parquet", "--steps", "8")
    run("ingest", "--day", "2025-03-03", "--table", "shop/day1.parquet")
    ways: tuple[Way, ...] = (one_after_the_other, side_by_side, side_by_side_untold)
    found: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            lake = folder / f"{way.__name__}{number}"
            shutil.copytree(folder / "lake", lake)
            line = [mmprod, "embed", "--wait", "--config", str(folder / "mmprod.toml"), "--lake", str(lake)]
            found[way.__name__].append(way([[*line, "--shard", str(shard)] for shard in range(SHARDS)]))
    _told("four shards", "CPU-s", found)


def steps(rounds: int, count: int) -> None:
    """Compare training steps alone and beside a load."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for kind in ("limited", "as libraries do"):
            for load in (0, LOAD):
                found.setdefault(f"{kind}, {load} beside", []).append(_step(kind, load, count))
    _told("a training step", "seconds", found)


def _step(kind: str, load: int, count: int) -> float:
    """Seconds of a step beside so many busy processes."""
    with ExitStack() as stack:
        for _ in range(load):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        line = [sys.executable, "-P", "-c", _STEP, str(count), kind]
        done = subprocess.run(line, env=environment(None), capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _told(what: str, unit: str, found: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in found.items()}
    first = next(iter(medians.values()))
    show(
        (what, unit, "ratio"),
        [(n.replace("_", " "), f"{m:.2f}", f"{m / first:.2f}") for n, m in medians.items()],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    given = parser.parse_args()
    print(f"{cores()} cores")
    with tempfile.TemporaryDirectory() as folder:
        shards(Path(folder), given.products, given.rounds)
    steps(given.rounds, given.steps)


if __name__ == "__main__":
    main()
