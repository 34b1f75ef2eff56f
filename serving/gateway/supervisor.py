"""Keeps one healthy Triton server running. A server is never changed, only replaced by a new one."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from mmprod.serving.canaries import Canary, read_canaries
from mmprod.serving.gateway.probe import one_per_model, probe
from mmprod.serving.gateway.settings import Settings
from mmprod.serving.gateway.triton import Triton, region_prefix, remove_regions
from mmprod.storage.errors import StateError

log = logging.getLogger(__name__)
_PROBE_PAUSE = 0.2  # seconds between two probes, however often one is requested
_BROKEN_DRAIN = 0.5  # seconds to drain a server that lost a model: most of its requests will get no answer
_MAX_DELAY = 30.0  # seconds between two tries to start a server


class Supervisor:
    """Starts Triton, probes it with canaries, replaces it if it fails, and switches to another release.

    A new server is started beside the old one, on other ports, and first has to answer all canaries of its
    release. Then new requests go to it, and the old one is stopped once its requests in flight have ended. So
    there has to be memory for two servers.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        """`session`: for probes."""
        self._settings, self._session = settings, session
        self._server: Triton | None = None
        self._canaries: list[Canary] = []  # of the regular probes
        self._probe_passed = False
        self._probe_requested = asyncio.Event()
        self._changing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        self.complaint = ""
        """Why the server is not ready; "" if it is."""
        self.refused = ""
        """The release that was tried last and the reason why it isn't served; "" if it is."""

    @property
    def current(self) -> Triton | None:
        """The server for new requests; None if there is none."""
        return self._server if self._server and self._server.alive else None

    @property
    def ready(self) -> bool:
        """Whether the current server answered the last probe correctly."""
        return self._probe_passed and self.current is not None

    @property
    def checked(self) -> list[str]:
        """The models that are probed."""
        return [canary.model for canary in self._canaries]

    def probe_soon(self) -> None:
        """Have the server probed soon; cheap."""
        self._probe_requested.set()

    async def start(self) -> None:
        """Serve the release of the settings. Raises: StateError if it can't be served."""
        if left := remove_regions(region_prefix(self._settings)):
            log.warning("removed %d shared memory regions that a killed gateway left", left)
        async with self._changing:
            await self._switch(self._settings.release)

    async def watch(self) -> None:
        """Probe the server regularly and replace it if it fails; never returns."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._probe_requested.wait(), self._settings.probe_seconds)
            self._probe_requested.clear()
            if not await self._passes():
                await self._replace()
            await asyncio.sleep(_PROBE_PAUSE)

    async def reload(self, release: Path) -> None:
        """Serve another release, or the same one with a new server.

        Raises: StateError with the reason if the release can't be served, or if a server is being replaced
        at the moment. The old server keeps serving then.
        """
        if self._changing.locked():
            raise StateError("a server is being started already: try again when it is ready")
        async with self._changing:
            try:
                await self._switch(release)
            except StateError:
                self.counts["reloads_refused"] += 1
                raise
        self.counts["reloads_switched"] += 1

    async def stop(self) -> None:
        """Stop the server once its requests in flight have ended, at the latest after the deadline."""
        if self._server:
            self._retire(self._server)
        await asyncio.gather(*self._retiring)

    async def _switch(self, release: Path) -> None:
        """Start and probe a server on a release, then make it current. Raises: StateError; the old stays."""
        try:
            server, canaries = await self._start_probed(release)
        except StateError as error:
            self.refused = f"{release.name}: {error}"
            log.error("not served: %s", self.refused)
            raise
        old, self._server = self._server, server
        self._canaries, self._probe_passed = one_per_model(canaries), True
        self.complaint = self.refused = ""
        log.info("%s is served by process %d", server.release, server.pid)
        if old:
            self._retire(old)

    async def _start_probed(self, release: Path) -> tuple[Triton, list[Canary]]:
        """A new server that has answered all canaries of its release. Raises: StateError."""
        canaries = await asyncio.to_thread(read_canaries, release)
        server = Triton(self._settings, release, self.probe_soon)
        await server.start(self._session)
        try:
            await probe(self._session, server.address, canaries, self._settings.start_seconds)
        except BaseException:
            await server.stop()
            raise
        return server, canaries

    def _retire(self, server: Triton) -> None:
        task = asyncio.create_task(self._drain(server))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _drain(self, server: Triton) -> None:
        timeout = self._settings.deadline + 1 if server.complete else _BROKEN_DRAIN
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.drained(), timeout)
        await server.stop()

    async def _passes(self) -> bool:
        """Probe the current server; whether all its processes run and it answers correctly."""
        server = self._server
        if server is None or not server.complete:
            lost = ", ".join(server.lost) if server and server.alive else "Triton"
            return self._not_ready(f"ended: {lost}")
        try:
            with server.using():
                timeout = 2 * self._settings.deadline  # the probe waits behind all queued requests
                await probe(self._session, server.address, self._canaries, timeout)
        except StateError as error:
            if server is not self._server:
                return True  # it was replaced in the meantime
            self.counts["probe_failures"] += 1
            return self._not_ready(str(error))
        self._probe_passed, self.complaint = True, ""
        return True

    def _not_ready(self, reason: str) -> bool:
        if reason != self.complaint:
            log.error("not ready: %s", reason)
        self._probe_passed, self.complaint = False, reason
        return False

    async def _replace(self) -> None:
        """Start a new server on the same release, unless the current one passes now or has been replaced."""
        for delay in _delays():
            await asyncio.sleep(delay)
            async with self._changing:
                if self._server is None or await self._passes():
                    return
                with contextlib.suppress(StateError):
                    await self._switch(self._server.path)
                    self.counts["restarts"] += 1
                    return


def _delays() -> Iterator[float]:
    """Seconds to wait before each try: 0, 1, 2, 4 … up to the maximum."""
    delay = 0.0
    while True:
        yield delay
        delay = min(max(1.0, 2 * delay), _MAX_DELAY)
