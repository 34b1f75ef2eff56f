"""A server that answers requests, and the interface of the supervisor that provides it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Backend:
    """A Triton server that serves a release; counts the requests in flight on it."""

    def __init__(self, release: str, address: str, metrics_address: str) -> None:
        """`release`: the name of its folder; addresses as "127.0.0.1:PORT"."""
        self.release, self.address, self.metrics_address = release, address, metrics_address
        self.lost: list[str] = []
        """Models whose process has ended: they answer no more requests."""
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""
        return self._in_flight

    @contextmanager
    def using(self) -> Iterator[None]:
        """Count a request as in flight while entered; `drained` waits for it."""
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drained(self) -> None:
        """Return once no request is in flight."""
        await self._idle.wait()


class BackendSource(Protocol):
    """Provides the current server: the supervisor, or a substitute in tests."""

    counts: Counter[str]
    """Number of "restarts", "probe_failures", "reloads_switched", "reloads_refused"."""

    @property
    def current(self) -> Backend | None:
        """The server for new requests, each inside its `using`. None if there is none: 503."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the current server answered the last probe correctly."""
        ...

    def probe_soon(self) -> None:
        """Have the server probed soon, because a request failed. It is cheap: call it at every failure."""
        ...
