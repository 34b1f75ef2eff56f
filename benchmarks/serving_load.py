"""The online service under load: how fast it answers, how much it takes, and what each part of that costs.

    python benchmarks/serving_load.py [--folder DIR] [--seconds 5] [--rounds 3] [--only closed,open,…]

Serves the current release of the project in DIR, or of one made here (2,000 rendered products, the small
encoder), on ports of its own; nothing in the project is changed. Nothing is answered from a cache unless it
is the cache that is measured. Requests carry one item each; what is compared takes turns, and figures are
medians of the rounds. Times in milliseconds, to the last byte of the answer.

closed   each kind of request by 1, 4, 16, 64 clients, through the gateway and straight to Triton
floor    one client: in this process, Triton, the gateway; and a model that gives back what it gets
open     requests at random moments, at fractions of what the gateway took in a closed loop of 64 clients
batch    the text encoder with dynamic batching and without
cache    64 titles again and again, with the cache and without
memory   16 pictures of 200 kB a request, in the body and through shared memory
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from load.deployment import Deployment
from load.generator import Closed, Open, Sent, offer
from load.here import questions
from load.shop import Catalogue, make_shop, workloads
from load.tables import show
from load.wire import Ask, binary

from mmprod.serving.client import Client

CLIENTS, FRACTIONS = (1, 4, 16, 64), (0.25, 0.5, 0.75, 0.9, 1.5)
Way = Callable[[], "Figures"]
Figures = tuple[float, float, float, float]  # right answers a second, p50, p99, share of the others


class Bench:
    """A project, what is asked about it, and how long."""

    def __init__(self, shop: Path, scratch: Path, seconds: float, rounds: int) -> None:
        self.shop, self.scratch, self.seconds, self.rounds = shop, scratch, seconds, rounds
        self.catalogue = Catalogue.read(shop)
        self.asks = workloads(self.catalogue)

    def deploy(self, name: str, **serving: object) -> Deployment:
        """A deployment that can be started."""
        return Deployment(self.scratch / name, self.shop / "lake", **serving)

    def closed(self, address: str, asks: Sequence[Ask], clients: int) -> Way:
        """A closed loop, to be run."""
        return lambda: figures(offer(address, asks, Closed(clients, self.seconds)))

    def medians(self, *ways: Way) -> list[Figures]:
        """The medians of ways that take turns."""
        return [median(found) for found in zip(*self.turns(*ways), strict=True)]

    def turns(self, *ways: Way) -> list[list[Figures]]:
        """What each way comes to, in each of the rounds."""
        return [[way() for way in ways] for _ in range(self.rounds)]

    def timed(self, call: Callable[[int], object]) -> Way:
        """Calls in this process one after the other, with the numbers of products in turn."""
        return lambda: _timed(call, len(self.catalogue.ids), self.seconds)


def median(found: Sequence[Figures]) -> Figures:
    """Of each figure."""
    rate, p50, p99, missed = (statistics.median(column) for column in zip(*found, strict=True))
    return rate, p50, p99, missed


def figures(sent: Sent) -> Figures:
    """Of one load; what was not answered rightly is told aside."""
    for problem, count in sent.problems.most_common(3):
        print(f"{count} x {problem}", file=sys.stderr)
    return sent.rate, sent.milliseconds(50), sent.milliseconds(99), 1 - float(sent.right.mean())


def closed(bench: Bench) -> None:
    """Throughput and latency against concurrency."""
    headings = ["request", "clients", "gateway: /s", "p50", "p99", "Triton: /s", "p50", "p99", "wrong"]
    with bench.deploy("closed") as deployment:
        addresses = deployment.address, deployment.triton_address
        each = itertools.product(bench.asks, CLIENTS)
        show(headings, (_closed_row(bench, addresses, name, clients) for name, clients in each))


def _closed_row(bench: Bench, addresses: Sequence[str], name: str, clients: int) -> list[object]:
    ways = (bench.closed(address, bench.asks[name], clients) for address in addresses)
    (*through, missed), (*straight, _) = bench.medians(*ways)
    return [name, clients, *through, *straight, f"{missed:.2%}"]


def floor(bench: Bench) -> None:
    """What wire, gateway and process boundaries cost one client."""
    deployment = bench.deploy("floor")
    deployment.add_echo()
    echo = [binary("echo", {"TITLE": [title]}) for title in bench.catalogue.titles]
    with deployment:
        triton = deployment.triton_address

        def rows() -> Iterator[list[str]]:
            yield ["echo", "", f"{bench.medians(bench.closed(triton, echo, 1))[0][1]:.2f}", "", ""]
            for name, question in questions(bench.shop, bench.catalogue).items():
                wire = (
                    bench.closed(address, bench.asks[name], 1) for address in (triton, deployment.address)
                )
                here, straight, through = (found[1] for found in bench.medians(bench.timed(question), *wire))
                cells = here, straight, through, through - straight
                yield [name, *(f"{milliseconds:.2f}" for milliseconds in cells)]

        show(["one client, p50", "in process", "Triton", "gateway", "gateway over Triton"], rows())


def _timed(call: Callable[[int], object], rows: int, seconds: float) -> Figures:
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until:
        call(len(taken) % rows)
        taken.append(time.perf_counter() - begun)
    p50, p99 = np.percentile(taken, (50, 99)) * 1000
    return len(taken) / seconds, float(p50), float(p99), 0.0


def arrivals(bench: Bench) -> None:
    """Open loop."""
    with bench.deploy("open") as deployment:
        rows = (_open_rows(bench, deployment.address, name) for name in bench.asks)
        headings = ["request", "of capacity", "sent /s", "correct /s", "p50", "p99", "refused"]
        show(headings, itertools.chain.from_iterable(rows))


def _open_rows(bench: Bench, address: str, name: str) -> Iterator[list[object]]:
    asks = bench.asks[name]
    capacity = bench.medians(bench.closed(address, asks, CLIENTS[-1]))[0][0]
    for fraction in FRACTIONS:
        plan = Open(capacity * fraction, bench.seconds)
        rate, p50, p99, missed = bench.medians(lambda plan=plan: figures(offer(address, asks, plan)))[0]  # type: ignore[misc]
        yield [name, f"{fraction:.0%}", plan.rate, rate, p50, p99, f"{missed:.2%}"]


def batching(bench: Bench) -> None:
    """Dynamic batching of the text encoder, on against off."""
    plain = bench.deploy("unbatched")
    plain.without_batching()
    with ExitStack() as stack:
        on, off = (stack.enter_context(one).triton_address for one in (bench.deploy("batched"), plain))
        compare(bench, "text_encoder", bench.asks["text_encoder"], {"batching": on, "one by one": off})


def caching(bench: Bench) -> None:
    """Titles that were asked before."""
    few = bench.asks["text_encoder"][:64]
    with ExitStack() as stack:
        on, off = (
            stack.enter_context(bench.deploy(f"cache-{size}", cache_bytes=size)).address
            for size in (1 << 26, 0)
        )
        compare(bench, "64 titles", few, {"cache": on, "no cache": off})


def compare(bench: Bench, what: str, asks: Sequence[Ask], addresses: dict[str, str]) -> None:
    """Two servers under the same load in turn; `ratio` is the median of the rounds' ratios of throughput."""
    first, second = addresses

    def rows() -> Iterator[list[object]]:
        for clients in CLIENTS:
            turns = bench.turns(*(bench.closed(address, asks, clients) for address in addresses.values()))
            one, other = (median(found) for found in zip(*turns, strict=True))
            ratio = statistics.median(a[0] / b[0] for a, b in turns)
            yield [what, clients, *one[:3], *other[:3], f"{ratio:.2f}x"]

    show(["request", "clients", f"{first}: /s", "p50", "p99", f"{second}: /s", "p50", "p99", "ratio"], rows())


def shared_memory(bench: Bench) -> None:
    """Large pictures, in the body and through shared memory."""
    pictures = [noise(seed) for seed in range(16)]
    with bench.deploy("memory", shared_memory=True) as deployment, ExitStack() as stack:
        body, shared = (
            stack.enter_context(Client(deployment.address, shared_memory=size)) for size in (0, 1 << 23)
        )
        turns = bench.turns(
            bench.timed(lambda _: body.pictures(pictures)), bench.timed(lambda _: shared.pictures(pictures))
        )
    one, other = (median(found)[1] for found in zip(*turns, strict=True))
    ratio = statistics.median(a[1] / b[1] for a, b in turns)
    what = f"16 pictures of {statistics.mean(map(len, pictures)) / 1000:.0f} kB"
    headings = ["a request", "in the body: p50", "shared memory: p50", "times as fast"]
    show(headings, [[what, one, other, f"{ratio:.2f}x"]])


def noise(seed: int) -> bytes:
    """A picture of about 200 kB that decodes quickly for its size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (270, 270, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


PARTS: dict[str, Callable[[Bench], None]] = {
    "closed": closed,
    "floor": floor,
    "open": arrivals,
    "batch": batching,
    "cache": caching,
    "memory": shared_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="a project with a release")
    parser.add_argument("--products", type=int, default=2_000, help="of the one that is made here")
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        shop = given.folder or make_shop(given.products)
        bench = Bench(shop, Path(scratch), given.seconds, given.rounds)
        for name in given.only.split(","):
            print(f"### {name}")
            PARTS[name](bench)


if __name__ == "__main__":
    main()
