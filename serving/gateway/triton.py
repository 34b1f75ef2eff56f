"""One Triton server: a child of this process, in a process group of its own with its models' processes."""

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
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_COMPLAINT = re.compile(r"^E\d{4} |^error|Error: ")
_LOOK = 0.05  # seconds between looks at a starting server
_LOG_BYTES = 10_000_000
_SHARED = Path("/dev/shm")
_NO_KEY = "off\noff=\noff"
"""The header, and its value, that open Triton's control interfaces. It takes them from its command line only,
where every user of this machine reads them: they hold line breaks, so that no request can carry them."""
_GUARD = 'read group; read _; kill -s KILL -- "-$group"'
"""Shell: end a process group once the pipe breaks on which its number came. Models' processes notice that
Triton is gone only when it was reaped, for which in a container there may be nobody."""


class Triton(Backend):
    """A running server. It and its models' processes end with this process, even if that is killed.

    `alarm` is called, often or not, as soon as the server or a process of one of its models has ended.
    """

    def __init__(self, settings: Settings, release: Path, alarm: Callable[[], None]) -> None:
        """Only describes it: `start` starts it."""
        port, metrics = _free_ports()
        super().__init__(release.name, f"{ADDRESS}:{port}", f"{ADDRESS}:{metrics}")
        self.path = release
        self.prefix = f"{regions(settings)}{port}-"
        self._settings, self._alarm = settings, alarm
        self._models: dict[int, str] = {}  # what each descriptor of a model's process tells the end of

    async def start(self, session: aiohttp.ClientSession) -> Self:
        """Start it and wait until it says that it is ready.

        Raises: StateError where it ends, or isn't ready in time, with its complaints. It is gone then.
        """
        try:
            await self._spawn()
        except OSError as error:
            raise StateError(f"{self._settings.triton} can't be started: {error}") from error
        self._end = asyncio.create_task(self._ended())
        try:
            async with asyncio.timeout(self._settings.patience):
                await self._until_ready(session)
        except TimeoutError:
            await self.stop()
            waited = f"Triton is not ready after {self._settings.patience:.0f} s"
            raise StateError(f"{waited}:\n{self._complaints()}") from None
        except BaseException:
            await self.stop()
            raise
        self._watch_models()
        return self

    async def _spawn(self) -> None:
        """Its guard, and it; both in groups of their own."""
        self._guard = await asyncio.create_subprocess_exec(
            *("sh", "-c", _GUARD),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # mostly the group has ended before
            start_new_session=True,
        )
        try:
            with _log_of(self._settings.folder).open("ab") as out:
                self._said = out.tell()
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
        """Of the server, and of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the server's own process runs."""
        return self._process.returncode is None

    @property
    def whole(self) -> bool:
        """Whether also the processes of all models run."""
        return self.alive and not self.lost

    async def stop(self) -> None:
        """End it and its models' processes at once, and remove what they shared. What is in flight is lost.

        It has nothing to save, and would wait for each connection that is kept open.
        """
        self._forget_models()
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
        self._alarm()

    async def _until_ready(self, session: aiohttp.ClientSession) -> None:
        while self.alive:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{self.address}/v2/health/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(_LOOK)
        raise StateError(f"Triton ended:\n{self._complaints()}")

    def _complaints(self, most: int = 10) -> str:
        """The errors in its log since it was started, or the log's end where it tells of none."""
        with (self._settings.folder / LOG).open("rb") as file:
            file.seek(self._said)
            lines = file.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if _COMPLAINT.search(line)]
        return "\n".join((errors or lines)[-most:])

    def _watch_models(self) -> None:
        loop = asyncio.get_running_loop()
        for pid, name in _members(self.pid).items():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                self._models[descriptor] = name
                loop.add_reader(descriptor, self._model_ended, descriptor)

    def _model_ended(self, descriptor: int) -> None:
        self.lost.append(self._models[descriptor])
        self._forget(descriptor)
        self._alarm()

    def _forget_models(self) -> None:
        for descriptor in list(self._models):
            self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        del self._models[descriptor]
        os.close(descriptor)


def _log_of(folder: Path) -> Path:
    """The log of the servers; one that has grown large is put aside."""
    file = folder / LOG
    if file.exists() and file.stat().st_size > _LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
    return file


def regions(settings: Settings) -> str:
    """How the names of all shared memory regions of a gateway's servers begin."""
    return f"mmprod-{hashlib.sha256(str(settings.folder).encode()).hexdigest()[:8]}-"


def remove_regions(prefix: str) -> int:
    """Remove shared memory regions that killed processes left; how many."""
    found = list(_SHARED.glob(f"{prefix}*"))
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _command(settings: Settings, server: Triton) -> list[str]:
    closed = "model-repository,logging,trace" + ("" if settings.shared_memory else ",shared-memory")
    host, port = server.address.split(":")
    metrics_host, metrics_port = server.metrics_address.split(":")
    command = [
        str(settings.triton),
        f"--model-repository={settings.models}",
        f"--backend-directory={settings.backends}",
        f"--backend-config=python,shm-region-prefix-name={server.prefix}",
        f"--backend-config=python,stub-timeout-seconds={max(1, round(settings.patience))}",
        f"--http-address={host}",
        f"--http-port={port}",
        "--allow-grpc=false",
        f"--metrics-address={metrics_host}",
        f"--metrics-port={metrics_port}",
        f"--http-restricted-api={closed}:{_NO_KEY}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",  # the configurations are whole
        f"--allow-gpu-metrics={str(settings.config_name == 'gpu').lower()}",
    ]
    if settings.config_name:
        command.append(f"--model-config-name={settings.config_name}")
    return command


def _environment(settings: Settings, release: Path) -> dict[str, str]:
    """Of the server: nothing of this process's but what it needs."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if settings.libraries:
        kept["LD_LIBRARY_PATH"] = settings.libraries
    return kept | {
        "MMPROD_SITE": str(settings.site),
        VARIABLE: str(release),
        "OMP_NUM_THREADS": str(max(1, settings.threads)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _reap(group: int) -> None:
    """Wait for a group's killed processes; they are this process's only where it is a container's first."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((ADDRESS, 0))
        other.bind((ADDRESS, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _members(group: int) -> dict[int, str]:
    """Processes of a group, its leader left out, with the name of the model that each one runs."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, fields = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and pid != group:
                path = next(filter(None, stat.with_name("cmdline").read_text().split("\0")[1:]), "")
                found[pid] = Path(path).parent.parent.name
    return found
