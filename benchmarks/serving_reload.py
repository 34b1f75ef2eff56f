"""A hundred reloads of the online service under load, every second one to a broken release; then kills.

    python benchmarks/serving_reload.py [--folder DIR] [--reloads 100] [--clients 4] [--kills 3] [--rate 30]

Serves the releases of the project in DIR, or of one made here: the two last ones, which have to be of
different encoders, take turns. Between them come releases broken in six ways (load/broken.py), which have to
be refused while the one before goes on. All the time clients ask all five models. No request may fail; each
answer has to be of a release that was current while it was asked, and of that release's encoder.

Then, with requests at random moments, `kill -9` of Triton, of each model's process and of the gateway, which
`mmprod triton start` brings back. Told are the requests that failed, and the time from the kill until the
last of them had its answer: from then on all was right.

Exit code 1 where a promise was broken.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from load.broken import FAULTS, break_release
from load.deployment import Deployment
from load.generator import Closed, Load, Open, Sent
from load.processes import Processes
from load.shop import Catalogue, make_shop, workloads
from load.tables import show
from load.wire import Ask

from mmprod.serving.release import Release
from mmprod.storage.errors import StateError

SETTLE = 2.0  # seconds of load before the first fault and after the last
RECOVERY = 90.0  # seconds that it may take
_WHY = re.compile(r"\w*Error: [^\\\"\n]+")  # in what Triton says of a model that failed
SOUND = "none: another release"


@dataclass(frozen=True)
class Tried:
    """A reload: the fault of its release, from when to when, and why it was refused ("" where it was not)."""

    fault: str
    target: str
    begun: float
    ended: float
    refusal: str


def two_releases(deployment: Deployment) -> list[Path]:
    """The two last ones, whose answers can be told apart."""
    found = sorted(deployment.releases.glob("g*"))[-2:]
    if len({Release.read(path).encoder for path in found}) < 2:
        sys.exit("the two last releases of the project have to be of different encoders")
    return found


def reloads(deployment: Deployment, sound: Sequence[Path], count: int, scratch: Path) -> list[Tried]:
    """Sound releases in turn, and between them broken ones."""
    broken = {
        fault: break_release(sound[0], sound[1], change, scratch / fault.replace(" ", "-"))
        for fault, change in FAULTS.items()
    }
    done = []
    for number in range(count):
        fault = list(broken)[number // 2 % len(broken)] if number % 2 else SOUND
        release = broken.get(fault, sound[number // 2 % 2])
        done.append(reload(deployment, fault, release))
    return done


def reload(deployment: Deployment, fault: str, release: Path) -> Tried:
    """One of them."""
    begun, refusal = time.monotonic(), ""
    try:
        deployment.reload(release)
    except StateError as error:
        refusal = str(error)
    return Tried(fault, release.name, begun, time.monotonic(), refusal)


def tell_reloads(done: Sequence[Tried]) -> bool:
    """By fault; whether exactly the sound ones were switched to."""

    def row(fault: str) -> list[object]:
        mine = [one for one in done if one.fault == fault]
        seconds = [one.ended - one.begun for one in mine]
        why = re.sub(r"/\S*/", "", (_WHY.search(mine[0].refusal) or [mine[0].refusal])[0])[:100]
        refused = sum(bool(one.refusal) for one in mine)
        return [fault, len(mine), len(mine) - refused, refused, np.median(seconds), max(seconds), why]

    show(
        ["fault", "reloads", "switched", "refused", "seconds: median", "most", "why, the first time"],
        map(row, dict.fromkeys(one.fault for one in done)),
    )
    return all((one.fault == SOUND) == (not one.refusal) for one in done)


def misplaced(sent: Sent, first: str, done: Sequence[Tried]) -> int:
    """Right answers by a release that was not current at any time while they were asked."""
    switched = [one for one in done if not one.refusal]
    numbers = {name: number for number, name in enumerate(sent.names)}
    current = np.array([numbers.get(name, -1) for name in (first, *(one.target for one in switched))])
    rows = sent.rows[sent.right]
    earliest = np.searchsorted([one.ended for one in switched], rows["due"])
    latest = np.searchsorted([one.begun for one in switched], rows["due"] + rows["seconds"])
    allowed = (
        np.any(current[low : high + 1] == release)
        for low, high, release in zip(earliest, latest, rows["release"], strict=True)
    )
    return len(rows) - sum(map(bool, allowed))


def mixed_up(sent: Sent, sound: Sequence[Path]) -> int:
    """Right answers whose encoder is not that of the release that gave them."""
    encoders = {path.name: Release.read(path).encoder for path in sound}
    rows = sent.rows[sent.right]
    return sum(encoders.get(sent.names[row["release"]]) != sent.names[row["encoder"]] for row in rows)


def under_reloads(
    deployment: Deployment, asks: Sequence[Ask], count: int, clients: int, scratch: Path
) -> bool:
    """The first part; whether all promises were kept."""
    sound, first = two_releases(deployment), deployment.status()["release"]
    with Load(deployment.address, asks, Closed(clients)) as load:
        time.sleep(SETTLE)
        done = reloads(deployment, sound, count, scratch)
        time.sleep(SETTLE)
        sent = load.end()
    kept = tell_reloads(done)
    failed, late, mixed = int((~sent.right).sum()), misplaced(sent, first, done), mixed_up(sent, sound)
    print(f"{len(sent.rows):,} requests by {clients} clients meanwhile: {failed} failed, {late} were")
    print(f"answered by a release of another time, {mixed} by an encoder of another release; p50")
    print(f"{sent.milliseconds(50):.1f} ms, p99 {sent.milliseconds(99):.1f} ms.")
    for problem, times in sent.problems.most_common(5):
        print(f"{times} x {problem}", file=sys.stderr)
    return kept and not failed + late + mixed


@dataclass(frozen=True)
class Killed:
    """What a kill cost: requests, and seconds until nothing failed any more."""

    asked: int
    failed: int
    seconds: float
    statuses: frozenset[int]


def kill(deployment: Deployment, what: str, load: Callable[[], Load]) -> Killed:
    """End a process the hard way, wait until the service is whole again."""
    with load() as running:
        time.sleep(SETTLE)
        before = deployment.status()["triton"]
        process = Processes(deployment).find()[what]
        moment = time.monotonic()
        process.kill()
        if what == "gateway":
            deployment.mmprod("triton", "start")
        else:
            wait_for_another(deployment, before)
        time.sleep(SETTLE)
        sent = running.end()
    failed = sent.rows[~sent.right]
    ends = failed["due"] + failed["seconds"] - moment
    statuses = frozenset(map(int, failed["status"]))
    return Killed(len(sent.rows), len(failed), float(ends.max()) if len(ends) else 0.0, statuses)


def wait_for_another(deployment: Deployment, triton: int) -> None:
    """Until another Triton than process `triton` serves and answers rightly."""
    until = time.monotonic() + RECOVERY
    while time.monotonic() < until:
        told = deployment.status()
        if told["ready"] and told["triton"] != triton:
            return
        time.sleep(0.1)
    raise StateError(f"no other server after {RECOVERY:.0f} s: {told['complaint']}")


def under_kills(deployment: Deployment, asks: Sequence[Ask], kills: int, rate: float) -> None:
    """The second part: each process in turn."""

    def row(what: str) -> list[object]:
        found = [
            kill(deployment, what, lambda: Load(deployment.address, asks, Open(rate, float("inf"))))
            for _ in range(kills)
        ]
        seconds = [one.seconds for one in found]
        statuses = sorted(frozenset.union(*(one.statuses for one in found)))
        told = ", ".join(str(status or "no answer") for status in statuses)
        return [
            what,
            kills,
            sum(one.asked for one in found),
            sum(one.failed for one in found),
            told,
            np.median(seconds),
            max(seconds),
        ]

    names = Processes(deployment).find()
    print(f"{rate:.0f} requests a second at random moments, without retries:")
    show(
        ["killed", "times", "requests", "failed", "with", "seconds until right: median", "most"],
        map(row, reversed(names)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="a project with two releases of different encoders")
    parser.add_argument("--products", type=int, default=2_000, help="of the one that is made here")
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kills", type=int, default=3, help="of each process")
    parser.add_argument("--rate", type=float, default=30, help="requests a second during kills")
    given = parser.parse_args()
    shop = given.folder or make_shop(given.products)
    asks = [ask for kind in workloads(Catalogue.read(shop), 100).values() for ask in kind]
    random.Random(0).shuffle(asks)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Deployment(Path(scratch) / "reload", shop / "lake") as deployment,
    ):
        kept = under_reloads(deployment, asks, given.reloads, given.clients, Path(scratch))
        if given.kills:
            under_kills(deployment, asks, given.kills, given.rate)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
