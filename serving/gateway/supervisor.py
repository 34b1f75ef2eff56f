"""Which Triton serves: one that answers right. It is replaced by a second one, never changed."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from mmprod.serving.canaries import Canary, read_canaries
from mmprod.serving.gateway.exam import examine, one_each
from mmprod.serving.gateway.settings import Settings
from mmprod.serving.gateway.triton import Triton, regions, remove_regions
from mmprod.storage.errors import StateError

log = logging.getLogger(__name__)
_SOON = 0.2  # seconds between two probes, whoever asks for one
_BROKEN = 0.5  # seconds for what is in flight on a server that lost a model: most of it will not be answered
_LONGEST = 30.0  # seconds between two tries to start a server


class Supervisor:
    """Starts Triton, probes it by value, replaces it where it fails, and switches to another release.

    A new server is started beside the old one, on other ports, and has to answer every canary of its release
    first. Then one reference is switched, and the old one ends when what is in flight on it has ended. So the
    memory for a second server has to be there.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        """`session`: for questions to servers."""
        self._settings, self._session = settings, session
        self._server: Triton | None = None
        self._probes: list[Canary] = []
        self._right = False
        self._alarm = asyncio.Event()
        self._changing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        self.complaint = ""
        """Why it is not ready; "" where it is."""
        self.refused = ""
        """Which release wasn't served and why, where that was the last one to be tried."""

    @property
    def current(self) -> Triton | None:
        """The server to ask now; None where there is none."""
        return self._server if self._server and self._server.alive else None

    @property
    def ready(self) -> bool:
        """Whether the current server's last answers to the probes were right."""
        return self._right and self.current is not None

    @property
    def checked(self) -> list[str]:
        """The models that are examined."""
        return [canary.model for canary in self._probes]

    def suspect(self) -> None:
        """Have the server probed soon; costs nothing."""
        self._alarm.set()

    async def start(self) -> None:
        """Serve the release of the settings. Raises: StateError where that can't be."""
        if left := remove_regions(regions(self._settings)):
            log.warning("removed %d shared memory regions that a killed gateway left", left)
        async with self._changing:
            await self._switch(self._settings.release)

    async def watch(self) -> None:
        """Probe the server, and replace one that fails, for as long as this is awaited."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._alarm.wait(), self._settings.probe_seconds)
            self._alarm.clear()
            if not await self._passes():
                await self._replace()
            await asyncio.sleep(_SOON)

    async def reload(self, release: Path) -> None:
        """Serve another release, or the same one by a new server.

        Raises: StateError where it can't be served, with the reason; the one before goes on then. Also where
        a server is being replaced at the moment.
        """
        if self._changing.locked():
            raise StateError("a server is being started already: try again when that is done")
        async with self._changing:
            try:
                await self._switch(release)
            except StateError:
                self.counts["reloads_refused"] += 1
                raise
        self.counts["reloads_switched"] += 1

    async def stop(self) -> None:
        """End the server once what is in flight has ended, or after the deadline."""
        if self._server:
            self._retire(self._server)
        await asyncio.gather(*self._retiring)

    async def _switch(self, release: Path) -> None:
        """To a new server on a release, once that is proved. Raises: StateError; the old one is kept then."""
        try:
            server, canaries = await self._proved(release)
        except StateError as error:
            self.refused = f"{release.name}: {error}"
            log.error("not served: %s", self.refused)
            raise
        old, self._server = self._server, server
        self._probes, self._right = one_each(canaries), True
        self.complaint = self.refused = ""
        log.info("%s is served by process %d", server.release, server.pid)
        if old:
            self._retire(old)

    async def _proved(self, release: Path) -> tuple[Triton, list[Canary]]:
        canaries = await asyncio.to_thread(read_canaries, release)
        server = Triton(self._settings, release, self.suspect)
        await server.start(self._session)
        try:
            await examine(self._session, server.address, canaries, self._settings.patience)
        except BaseException:
            await server.stop()
            raise
        return server, canaries

    def _retire(self, server: Triton) -> None:
        task = asyncio.create_task(self._drain(server))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _drain(self, server: Triton) -> None:
        patience = self._settings.deadline + 1 if server.whole else _BROKEN
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.drained(), patience)
        await server.stop()

    async def _passes(self) -> bool:
        """Whether the current server is whole and answers the probes right."""
        server = self._server
        if server is None or not server.whole:
            lost = ", ".join(server.lost) if server and server.alive else "Triton"
            return self._fails(f"ended: {lost}")
        try:
            with server.using():
                patience = 2 * self._settings.deadline  # behind all that waits
                await examine(self._session, server.address, self._probes, patience)
        except StateError as error:
            if server is not self._server:
                return True  # it was replaced in the meantime
            self.counts["probe_failures"] += 1
            return self._fails(str(error))
        self._right, self.complaint = True, ""
        return True

    def _fails(self, why: str) -> bool:
        if why != self.complaint:
            log.error("not ready: %s", why)
        self._right, self.complaint = False, why
        return False

    async def _replace(self) -> None:
        """By a second server on the same release, unless it passes now or has been replaced."""
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
    """0, 1, 2, 4 … seconds before a try."""
    delay = 0.0
    while True:
        yield delay
        delay = min(max(1.0, 2 * delay), _LONGEST)
