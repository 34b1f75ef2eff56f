"""Ten minutes of mixed load on the online service: does its memory stay flat, and its speed the same?

    python benchmarks/serving_soak.py [--folder DIR] [--minutes 10] [--clients 8] [--every 5]

Serves the current release of the project in DIR, or of one made here. All kinds of requests of
serving_load.py in turn, one in fifty of them at fault, so that refusals are part of it; the cache is so small
that it is full, and forgets, from the first minute on. Every few seconds the resident memory, open files and
threads of each process are noted. Growth is the slope of a line through the second half of them, times its
duration: what was new to the processes has settled by then.

Exit code 1 where a process grew by over 2 % and 4 MB in that half, or a request was answered wrongly.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from load.deployment import Deployment
from load.generator import Closed, Load, Sent
from load.processes import Processes, Sample, look
from load.shop import Catalogue, make_shop, refused, workloads
from load.tables import show
from load.wire import Ask

CACHE = 1 << 20  # serving.cache_bytes
Series = dict[str, list[Sample]]


def mixed(known: Catalogue) -> list[Ask]:
    """Requests of all kinds, shuffled; one in fifty has to be refused."""
    asks = [ask for kind in workloads(known, 1_000).values() for ask in kind]
    faults = refused(known)
    asks += [faults[number % len(faults)] for number in range(len(asks) // 49)]
    random.Random(0).shuffle(asks)
    return asks


def watch(processes: Processes, seconds: float, every: float) -> tuple[list[float], Series]:
    """Samples of each process, and their moments."""
    found = processes.find()
    moments: list[float] = []
    series: Series = {name: [] for name in found}
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        moments.append(now)
        for name, process in found.items():
            series[name].append(look(process))
        time.sleep(min(every, until - now))
    return moments, series


def growth(moments: Sequence[float], samples: Sequence[Sample]) -> float:
    """Megabytes that the second half of the samples gained, by the line of least squares through it."""
    half = len(moments) // 2
    times = np.array(moments[half:])
    slope = np.polyfit(times - times[0], [sample.megabytes for sample in samples[half:]], 1)[0]
    return float(slope * (times[-1] - times[0]))


def tell_memory(moments: Sequence[float], series: Series) -> bool:
    """Memory at ten moments and how it grew; whether it is flat."""
    marks = np.linspace(0, len(moments) - 1, 11).astype(int)
    minutes = [(moments[mark] - moments[0]) / 60 for mark in marks]
    flat = True
    rows = []
    for name, samples in series.items():
        grown = growth(moments, samples)
        flat &= grown < max(4.0, 0.02 * samples[-1].megabytes)
        first, last = samples[0], samples[-1]
        at_marks = (f"{samples[mark].megabytes:.0f}" for mark in marks)
        counts = f"{first.files} → {last.files}", f"{first.threads} → {last.threads}"
        rows.append([name, *at_marks, f"{grown:+.1f}", *counts])
    show(["MB after minutes", *(f"{at:.1f}" for at in minutes), "2nd half", "files", "threads"], rows)
    return flat


def tell_speed(sent: Sent, parts: int = 5) -> None:
    """Throughput and latency of the first part of the time to the last."""
    step = sent.seconds / parts

    def row(number: int) -> list[object]:
        part = sent.between(sent.began + number * step, sent.began + (number + 1) * step)
        times = f"{number * step / 60:.1f} to {(number + 1) * step / 60:.1f}"
        return [
            times,
            len(part.rows),
            part.rate,
            *map(part.milliseconds, (50, 99, 100)),
            int((~part.right).sum()),
        ]

    show(["minutes", "requests", "correct /s", "p50", "p99", "slowest", "wrong"], map(row, range(parts)))
    for problem, count in sent.problems.most_common(5):
        print(f"{count} x {problem}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="a project with a release")
    parser.add_argument("--products", type=int, default=2_000, help="of the one that is made here")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--every", type=float, default=5, help="seconds between looks at the processes")
    given = parser.parse_args()
    shop = given.folder or make_shop(given.products)
    asks = mixed(Catalogue.read(shop))
    with (
        tempfile.TemporaryDirectory() as scratch,
        Deployment(Path(scratch) / "soak", shop / "lake", cache_bytes=CACHE) as deployment,
        Load(deployment.address, asks, Closed(given.clients)) as load,
    ):
        moments, series = watch(Processes(deployment), given.minutes * 60, given.every)
        sent = load.end()
    flat = tell_memory(moments, series)
    tell_speed(sent)
    wrong = int((~sent.right).sum())
    print(f"{len(sent.rows):,} requests by {given.clients} clients, {wrong} answered wrongly.")
    print(f"Memory {'is' if flat else 'is NOT'} flat.")
    return 0 if flat and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
