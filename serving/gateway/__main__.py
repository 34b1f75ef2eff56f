"""`python -m mmprod.serving.gateway SETTINGS.json`: run the service until SIGTERM, SIGINT or POST /stop.

Exit status: 0 after a stop, 1 if the release can't be served or a port is taken, 2 for invalid settings.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from mmprod.serving.gateway.control import control, listen
from mmprod.serving.gateway.proxy import serving
from mmprod.serving.gateway.settings import Settings
from mmprod.serving.gateway.supervisor import Supervisor
from mmprod.storage import locks
from mmprod.storage.errors import InputError, StateError

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serve until stopped, then finish the requests in flight. Listens at once; ready after the first probe.

    Raises: StateError if the release can't be served, OSError if a port is taken.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with aiohttp.ClientSession() as session:
        supervisor = Supervisor(settings, session)
        try:
            async with serving(settings, supervisor), controlled(settings, supervisor, stopping):
                await _run_until(stopping, supervisor)
        finally:
            await supervisor.stop()


async def _run_until(stopping: asyncio.Event, supervisor: Supervisor) -> None:
    """Start and supervise Triton until `stopping` is set. Raises what the supervisor raises."""
    supervising = asyncio.create_task(_supervise(supervisor))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait((supervising, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not supervising.done():
        supervising.cancel()
    await asyncio.gather(supervising, return_exceptions=stopping.is_set())


async def _supervise(supervisor: Supervisor) -> None:
    await supervisor.start()
    await supervisor.watch()


@asynccontextmanager
async def controlled(
    settings: Settings, supervisor: Supervisor, stopping: asyncio.Event
) -> AsyncIterator[None]:
    """Serve the control socket while entered."""
    runner = web.AppRunner(control(supervisor, stopping), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listen(settings.folder)).start()
        yield
    finally:
        await runner.cleanup()


def _lock(folder: Path) -> None:
    """Allow one gateway per folder, for as long as the process lives. Raises: StateError."""
    try:
        locks.hold(folder / "gateway.lock", wait=False)
    except BlockingIOError as error:
        raise StateError(f"a gateway runs already in {folder}: stop it first") from error


def main() -> int:
    """Run with the settings file that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m mmprod.serving.gateway", description=__doc__)
    parser.add_argument("settings", type=Path, help="a JSON file with the keys of gateway/settings.py")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.read(arguments.settings)
        settings.folder.mkdir(parents=True, exist_ok=True)
        _lock(settings.folder)
        uvloop.run(serve(settings))
    except InputError as error:
        log.error("%s", error)
        return 2
    except (StateError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
