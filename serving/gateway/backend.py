"""A server that answers requests, and who tells which one that is now."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Backend:
    """A Triton server that serves a release; knows how many requests are in flight on it."""

    def __init__(self, release: str, address: str, metrics_address: str) -> None:
        """`release`: the name of its folder; addresses as "127.0.0.1:PORT"."""
        self.release, self.address, self.metrics_address = release, address, metrics_address
        self.lost: list[str] = []
        """Models whose process has ended: they answer nothing more."""
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return self._in_flight

    @contextmanager
    def using(self) -> Iterator[None]:
        """For as long as a request is in flight: until then the server is not stopped."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drained(self) -> None:
        """Return once nothing is in flight."""
        await self._idle.wait()


class Source(Protocol):
    """Who gives the server of the moment: the supervisor, or in tests whatever has these."""

    counts: Counter[str]
    """How often: "restarts", "probe_failures", "reloads_switched", "reloads_refused"."""

    @property
    def current(self) -> Backend | None:
        """The server to ask now; hold it by `using`. None where there is none: 503."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the current server's last answer to a known question was right."""
        ...

    def suspect(self) -> None:
        """Have the server probed soon, because it failed; costs nothing, so call it each time."""
        ...
