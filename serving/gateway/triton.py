"""One Triton server: a child process, in its own process group together with its models' processes."""

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

import aiohttp

from mmprod.serving.gateway.backend import Backend
from mmprod.serving.gateway.settings import Settings
from mmprod.serving.release import VARIABLE
from mmprod.storage.errors import StateError

ADDRESS = "127.0.0.1"
LOG = "triton.log"
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_ERROR = re.compile(r"^E\d{4} |^error|Error: ")
_POLL = 0.05  # seconds between checks of a starting server
_LOG_BYTES = 10_000_000
_SHARED_MEMORY = Path("/dev/shm")
_UNSENDABLE_HEADER = "off\noff=\noff"
"""The header, NAME=VALUE, that gives access to Triton's control interfaces. Triton takes it from its command
line only, which every user of this machine can read. So name and value have line breaks, which no HTTP
request can carry."""
_GUARD = 'read group; read _; kill -s KILL -- "-$group"'
"""Shell: read the number of a process group from a pipe, and kill the group once the pipe is closed. Models'
processes notice Triton's end only after it is reaped, and a container may have no process that reaps it."""


class Triton(Backend):
    """A Triton server. It and its models' processes end with this process, even if this process is killed."""

    def __init__(self, settings: Settings, release: Path, on_exit: Callable[[], None]) -> None:
        """Does not start it, see `start`. `on_exit` is called when the server or a model's process ends."""
        port, metrics = _free_ports()
        super().__init__(release.name, f"{ADDRESS}:{port}", f"{ADDRESS}:{metrics}")
        self.path = release
        self.prefix = f"{region_prefix(settings)}{port}-"
        self._settings, self._on_exit = settings, on_exit
        self._models: dict[int, str] = {}  # model by the descriptor of its process

    async def start(self, session: aiohttp.ClientSession) -> Self:
        """Start it and wait until Triton reports READY.

        Raises: StateError with errors from its log if it ends or isn't ready in time; it is stopped then.
        """
        try:
            await self._spawn()
        except OSError as error:
            raise StateError(f"{self._settings.triton} can't be started: {error}") from error
        self._end = asyncio.create_task(self._ended())
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                await self._until_ready(session)
        except TimeoutError:
            await self.stop()
            late = f"Triton is not ready after {self._settings.start_seconds:.0f} s"
            raise StateError(f"{late}:\n{self._errors()}") from None
        except BaseException:
            await self.stop()
            raise
        self._watch_models()
        return self

    async def _spawn(self) -> None:
        """Start the guard and the server, each in its own process group."""
        self._guard = await asyncio.create_subprocess_exec(
            *("sh", "-c", _GUARD),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # usually the group has already ended
            start_new_session=True,
        )
        try:
            with _log_file(self._settings.folder).open("ab") as out:
                self._log_start = out.tell()
                self._process = await asyncio.create_subprocess_exec(
                    *_command(self._settings, self),
                    env=_environment(self._settings, self.path),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
        except BaseException:
            self._pipe.close()
            raise
        self._pipe.write(f"{self.pid}\n".encode())

    @property
    def pid(self) -> int:
        """The id of the server's process and of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the server's own process runs, whatever its models do."""
        return self._process.returncode is None

    @property
    def complete(self) -> bool:
        """Whether the server's process and those of all its models run."""
        return self.alive and not self.lost

    async def stop(self) -> None:
        """Kill it and its models' processes, and remove their shared memory. Requests in flight are lost.

        Triton has nothing to save, and on SIGTERM would wait for each connection that is kept open.
        """
        self._unwatch_models()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._pipe.close()
        await asyncio.gather(self._guard.wait(), self._end)
        await asyncio.to_thread(_reap, self.pid)
        remove_regions(self.prefix)

    @property
    def _pipe(self) -> asyncio.StreamWriter:
        assert self._guard.stdin is not None
        return self._guard.stdin

    async def _ended(self) -> None:
        await self._process.wait()
        self._on_exit()

    async def _until_ready(self, session: aiohttp.ClientSession) -> None:
        while self.alive:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{self.address}/v2/health/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(_POLL)
        raise StateError(f"Triton ended:\n{self._errors()}")

    def _errors(self, most: int = 10) -> str:
        """The last errors in the log since the start, or the last lines if it has none."""
        with (self._settings.folder / LOG).open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if _ERROR.search(line)]
        return "\n".join((errors or lines)[-most:])

    def _watch_models(self) -> None:
        loop = asyncio.get_running_loop()
        for pid, name in _model_processes(self.pid).items():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                self._models[descriptor] = name
                loop.add_reader(descriptor, self._model_ended, descriptor)

    def _model_ended(self, descriptor: int) -> None:
        self.lost.append(self._models[descriptor])
        self._unwatch(descriptor)
        self._on_exit()

    def _unwatch_models(self) -> None:
        for descriptor in list(self._models):
            self._unwatch(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        del self._models[descriptor]
        os.close(descriptor)


def _log_file(folder: Path) -> Path:
    """The log of the servers; a large one is renamed first."""
    file = folder / LOG
    if file.exists() and file.stat().st_size > _LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
    return file


def region_prefix(settings: Settings) -> str:
    """The prefix of the names of all shared memory regions of a gateway's servers."""
    return f"mmprod-{hashlib.sha256(str(settings.folder).encode()).hexdigest()[:8]}-"


def remove_regions(prefix: str) -> int:
    """Remove shared memory regions that killed processes left; returns how many."""
    found = list(_SHARED_MEMORY.glob(f"{prefix}*"))
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _command(settings: Settings, server: Triton) -> list[str]:
    restricted = "model-repository,logging,trace" + ("" if settings.shared_memory else ",shared-memory")
    host, port = server.address.split(":")
    metrics_host, metrics_port = server.metrics_address.split(":")
    command = [
        str(settings.triton),
        f"--model-repository={settings.models}",
        f"--backend-directory={settings.backends}",
        f"--backend-config=python,shm-region-prefix-name={server.prefix}",
        f"--backend-config=python,stub-timeout-seconds={max(1, round(settings.start_seconds))}",
        f"--http-address={host}",
        f"--http-port={port}",
        "--allow-grpc=false",
        f"--metrics-address={metrics_host}",
        f"--metrics-port={metrics_port}",
        f"--http-restricted-api={restricted}:{_UNSENDABLE_HEADER}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",  # config.pbtxt files are complete
        f"--allow-gpu-metrics={str(settings.config_name == 'gpu').lower()}",
    ]
    if settings.config_name:
        command.append(f"--model-config-name={settings.config_name}")
    return command


def _environment(settings: Settings, release: Path) -> dict[str, str]:
    """The server's environment variables; of those of this process only the needed ones."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    if settings.libraries:
        inherited["LD_LIBRARY_PATH"] = settings.libraries
    return inherited | {
        "MMPROD_SITE": str(settings.site),
        VARIABLE: str(release),
        "OMP_NUM_THREADS": str(max(1, settings.threads)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _reap(group: int) -> None:
    """Reap a group's killed processes; they are this process's children only if it is a container's first."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((ADDRESS, 0))
        other.bind((ADDRESS, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _model_processes(group: int) -> dict[int, str]:
    """The processes of a group without its leader, and the name of the model that each runs."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, fields = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and pid != group:
                path = next(filter(None, stat.with_name("cmdline").read_text().split("\0")[1:]), "")
                found[pid] = Path(path).parent.parent.name
    return found
