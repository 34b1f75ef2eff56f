"""The load generator: requests to a server from a process of its own, closed or open loop.

In a closed loop a slow answer also delays the next question, so it shows what a server can do, but not what
a caller waits who comes when he likes. In the open loop requests come at random moments whatever became of
earlier ones, and each is timed from the moment at which it was due: a generator or a server that falls
behind is part of what is measured (no "coordinated omission").
"""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any, Self

import aiohttp
import numpy as np
from load.wire import Ask

TIMEOUT = 30.0  # seconds of a request
NO_ANSWER = 0  # in place of a status
_FINGERPRINT = re.compile(rb"[0-9a-f]{64}")  # of the encoder, in every answer of every model
_COLUMNS = np.dtype(
    [("ask", "i4"), ("due", "f8"), ("seconds", "f8"), ("status", "i4"), ("release", "i4"), ("encoder", "i4")]
)


@dataclass(frozen=True)
class Closed:
    """So many clients; each asks again as soon as it is answered. Endless without `seconds`."""

    clients: int
    seconds: float = float("inf")


@dataclass(frozen=True)
class Open:
    """So many requests a second on average, at moments of a Poisson process."""

    rate: float
    seconds: float
    seed: int = 0


@dataclass(frozen=True)
class Sent:
    """What became of the requests of a load, one row each.

    `rows`: which ask, when it was due (the clock of `time.monotonic`, the same in all processes), seconds to
    the last byte of the answer, status (NO_ANSWER: none), and by number in `names` the release (a header) and
    the encoder (in the body) that answered, 0 where none is told. `right`: whether the status was the wanted
    one. `cpu`: seconds the generator worked.
    """

    rows: np.ndarray
    right: np.ndarray
    names: list[str]
    problems: Counter[str]
    began: float
    seconds: float
    cpu: float

    def between(self, start: float, end: float) -> "Sent":
        """Only what was due from one moment to another."""
        part = (self.rows["due"] >= start) & (self.rows["due"] < end)
        return replace(self, rows=self.rows[part], right=self.right[part], began=start, seconds=end - start)

    @property
    def rate(self) -> float:
        """Right answers a second, while the load went on."""
        ends = self.rows["due"] + self.rows["seconds"]
        return float((self.right & (ends <= self.began + self.seconds)).sum() / self.seconds)

    def milliseconds(self, percentile: float) -> float:
        """A percentile of the time that right answers took; NaN where there are none."""
        taken = self.rows["seconds"][self.right]
        return float(np.percentile(taken, percentile) * 1000) if len(taken) else float("nan")


class Load:
    """Requests sent from another process until its plan is over or it is told to end."""

    def __init__(self, address: str, asks: Sequence[Ask], plan: Closed | Open) -> None:
        """Begin; returns once the first request is due."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, address, asks, plan), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def end(self) -> Sent:
        """Send nothing more, wait for the answers that are due."""
        self._pipe.send("end")
        return self.wait()

    def wait(self) -> Sent:
        """What became of it, when the plan is over."""
        sent: Sent = self._pipe.recv()
        self._process.join()
        return sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


def offer(address: str, asks: Sequence[Ask], plan: Closed | Open, warm: float = 0.5) -> Sent:
    """A whole load, without what was due in its first `warm` seconds."""
    with Load(address, asks, plan) as load:
        sent = load.wait()
    return sent.between(sent.began + warm, sent.began + sent.seconds)


@dataclass
class _Sender:
    """In the other process: sends, and notes what comes back."""

    session: aiohttp.ClientSession
    address: str
    asks: Sequence[Ask]
    noted: list[tuple[Any, ...]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=lambda: {"": 0})
    problems: Counter[str] = field(default_factory=Counter)

    async def send(self, number: int, due: float) -> None:
        """Ask once; `due` is when it should have been sent."""
        ask, status, release, encoder = self.asks[number], NO_ANSWER, "", ""
        try:
            url = f"http://{self.address}{ask.path}"
            async with self.session.post(url, data=ask.body, headers=ask.headers) as answer:
                body = await answer.read()
                status, release = answer.status, answer.headers.get("X-Mmprod-Release", "")
            if status == 200 and (found := _FINGERPRINT.search(body)):
                encoder = found[0].decode()
            if status != ask.wanted:
                self.problems[f"{status} {body[:80].decode(errors='replace')}"] += 1
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.problems[f"{type(error).__name__} {str(error)[:60]}"] += 1
        seconds = time.monotonic() - due
        self.noted.append((number, due, seconds, status, self._number(release), self._number(encoder)))

    def _number(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    def sent(self, began: float, seconds: float, cpu: float) -> Sent:
        rows, wanted = np.array(self.noted, _COLUMNS), np.array([ask.wanted for ask in self.asks])
        right = wanted[rows["ask"]] == rows["status"]
        return Sent(rows, right, list(self.names), self.problems, began, seconds, cpu)


def _run(pipe: Connection, address: str, asks: Sequence[Ask], plan: Closed | Open) -> None:
    with contextlib.suppress(ModuleNotFoundError):
        import uvloop

        uvloop.install()
    pipe.send(asyncio.run(_offer(pipe, address, asks, plan)))


async def _offer(pipe: Connection, address: str, asks: Sequence[Ask], plan: Closed | Open) -> Sent:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT)
    ) as session:
        sender, told = _Sender(session, address, asks), asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), told.set)
        pipe.send("begun")
        began, worked = time.monotonic(), time.process_time()
        if isinstance(plan, Closed):
            await _closed(sender, plan, told)
        else:
            await _open(sender, plan, told)
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        os.set_blocking(pipe.fileno(), True)  # the loop had it otherwise
        seconds = min(plan.seconds, time.monotonic() - began)
        return sender.sent(began, seconds, time.process_time() - worked)


async def _closed(sender: _Sender, plan: Closed, told: asyncio.Event) -> None:
    until = time.monotonic() + plan.seconds
    turns = itertools.cycle(range(len(sender.asks)))

    async def client() -> None:
        while (now := time.monotonic()) < until and not told.is_set():
            await sender.send(next(turns), now)

    await asyncio.gather(*(client() for _ in range(plan.clients)))


async def _open(sender: _Sender, plan: Open, told: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        numbers = itertools.cycle(range(len(sender.asks)))
        async for due in _moments(plan):
            if told.is_set():
                return
            group.create_task(sender.send(next(numbers), due))


async def _moments(plan: Open) -> AsyncIterator[float]:
    """When requests are due, each at its time or as soon after as can be."""
    chance, due = random.Random(plan.seed), time.monotonic()
    until = due + plan.seconds
    while (due := due + chance.expovariate(plan.rate)) < until:
        if (early := due - time.monotonic()) > 0:
            await asyncio.sleep(early)
        yield due
