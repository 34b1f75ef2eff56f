"""Hostile requests to the online service: each one refused with a 4xx, and nothing else happens.

    python benchmarks/serving_fuzz.py [--folder DIR] [--requests 10000] [--seed 0] [--clients 8]

Serves the current release of the project in DIR, or of one made here. Requests are drawn from the seed, of
some fifty kinds of fault (broken JSON, tensors, content, HTTP; see load/faults_*.py), each by a connection of
its own; every hundredth or so is sound and has to be answered. Then clients that send slowly. In the end the
same processes have to run that ran before, and the release's canaries have to come back right.

Exit code 1 where an answer is not the wanted one, a server process was replaced or a value differs.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from load.deployment import HOST, Deployment
from load.hostile import Hostile, Hostiles
from load.processes import Processes
from load.shop import Catalogue, make_shop
from load.tables import show
from load.wire import http

from mmprod.serving.canaries import read_canaries
from mmprod.serving.probe import probe

TIMEOUT = 20.0  # seconds until a request counts as hanging
SLOW = 2.0  # serving.body_seconds
NO_ANSWER = 0
Counts = dict[str, Counter[int]]


async def ask(port: int, hostile: Hostile) -> int:
    """The status that answers what one connection sends; NO_ANSWER where it is closed without any."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 24)
        writer.write(hostile.raw)
        if not hostile.leaves:
            line = await asyncio.wait_for(reader.readline(), TIMEOUT)
            return int(line.split()[1]) if line.startswith(b"HTTP/") else NO_ANSWER
        return NO_ANSWER
    except (OSError, TimeoutError, ValueError):
        return NO_ANSWER
    finally:
        writer.close()


async def offer(port: int, hostiles: Iterator[Hostile], clients: int) -> tuple[Counts, list[Hostile]]:
    """Statuses by kind, and what was answered wrongly."""
    counts: Counts = {}
    wrong: list[Hostile] = []

    async def client() -> None:
        for hostile in hostiles:
            status = await ask(port, hostile)
            counts.setdefault(hostile.kind, Counter())[status] += 1
            if not hostile.leaves and status // 100 not in hostile.wanted:
                wrong.append(hostile)

    await asyncio.gather(*(client() for _ in range(clients)))
    return counts, wrong


async def slow(port: int, known: Catalogue, clients: int = 50) -> Counts:
    """Clients that send a byte a second, half of them of the headers, half of the body: cut off in time."""
    raw = http("text_encoder", b'{"inputs": []}')
    starts = {"slow headers": raw[:10], "slow body": raw[:-14]}

    async def client(start: bytes) -> int:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(start)
        begun = time.monotonic()
        line = asyncio.create_task(reader.readline())
        while not line.done() and time.monotonic() < begun + TIMEOUT:
            writer.write(b"x")
            await asyncio.wait((line,), timeout=1)
        line.cancel()
        writer.close()
        got = line.result() if line.done() and not line.exception() else b""
        return int(got.split()[1]) if got else NO_ANSWER

    found = {}
    for kind, start in starts.items():
        found[kind] = Counter(await asyncio.gather(*(client(start) for _ in range(clients // 2))))
    return found


def tell(counts: Counts) -> None:
    """By kind: how many of which status."""
    statuses = sorted({status for found in counts.values() for status in found})
    headings = ["fault", "sent", *(str(status or "no answer") for status in statuses)]
    rows = [[kind, found.total(), *(found[status] for status in statuses)] for kind, found in counts.items()]
    together = sum(counts.values(), Counter())
    show(headings, [*rows, ["all", together.total(), *(together[status] for status in statuses)]])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="a project with a release")
    parser.add_argument("--products", type=int, default=2_000, help="of the one that is made here")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    shop = given.folder or make_shop(given.products)
    known = Catalogue.read(shop)
    with tempfile.TemporaryDirectory() as scratch:
        deployment = Deployment(Path(scratch) / "fuzz", shop / "lake", body_seconds=SLOW)
        with deployment:
            return fuzz(deployment, known, given.requests, given.seed, given.clients)


def fuzz(deployment: Deployment, known: Catalogue, requests: int, seed: int, clients: int) -> int:
    """Send them all, tell what came of it; the exit code."""
    processes = Processes(deployment)
    before, begun = processes.sample(), time.monotonic()
    counts, wrong = asyncio.run(offer(deployment.port, Hostiles(known, seed).draw(requests), clients))
    seconds = time.monotonic() - begun
    tell(counts | asyncio.run(slow(deployment.port, known)))
    after, told = processes.sample(), deployment.status()
    models = probe(deployment.address, read_canaries(deployment.releases / told["release"]))
    print(f"seed {seed}: {requests:,} requests in {seconds:.0f} s.")
    print(f"The canaries of {len(models)} models came back right afterwards.")
    grown = {
        name: after[name].megabytes - sample.megabytes for name, sample in before.items() if name in after
    }
    print(f"Memory grew by {', '.join(f'{grown[name]:.0f} MB ({name})' for name in grown)}.")
    replaced = {name for name in before if name not in after or after[name].pid != before[name].pid}
    print(f"Processes that were replaced: {', '.join(replaced) or 'none'}. Wrong answers: {len(wrong)}.")
    for hostile in wrong[:10]:
        print(f"  {hostile.kind}: {hostile.raw[:200]!r}", file=sys.stderr)
    return 1 if wrong or replaced else 0


if __name__ == "__main__":
    sys.exit(main())
