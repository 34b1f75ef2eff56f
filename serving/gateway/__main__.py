"""`python -m mmprod.serving.gateway SETTINGS.json`: the service, until SIGTERM, SIGINT or POST /stop.

Exit status: 0 after a stop, 1 where the release can't be served or a port is taken, 2 for wrong settings.
"""

import argparse
import asyncio
import fcntl
import logging
import os
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
from mmprod.storage.errors import InputError, StateError

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serve until told to stop, then answer what is in flight. Listens at once, is ready once proved.

    Raises: StateError where the release can't be served, OSError where a port is taken.
    """
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    async with aiohttp.ClientSession() as session:
        supervisor = Supervisor(settings, session)
        try:
            async with serving(settings, supervisor), controlled(settings, supervisor, stopping):
                await _until(stopping, supervisor)
        finally:
            await supervisor.stop()


async def _until(stopping: asyncio.Event, supervisor: Supervisor) -> None:
    """Start and watch over Triton. Raises what the supervisor raises."""
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
    """Listen to the operator until left."""
    runner = web.AppRunner(control(supervisor, stopping), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listen(settings.folder)).start()
        yield
    finally:
        await runner.cleanup()


def _lock(folder: Path) -> int:
    """One gateway a folder; for as long as the process lives. Raises: StateError."""
    held = os.open(folder / "gateway.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StateError(f"a gateway runs already in {folder}: stop it first") from error
    return held


def main() -> int:
    """Run on the settings that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m mmprod.serving.gateway", description=__doc__)
    parser.add_argument("settings", type=Path, help="a JSON file with the keys of gateway/settings.py")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.read(given.settings)
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
