"""The service on this machine: the gateway as a process of its own, and Triton as the gateway's child."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.serving.gateway.settings import Settings
from mmprod.serving.release import Release
from mmprod.stages.online import control
from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder, replace_file

_ASK = 0.1  # seconds between looks
_STOP = 30.0  # seconds until a service that should end is ended
_RELOAD = 60.0  # seconds beyond serving.patience that a reload may take: questions, and the last requests


@dataclass(frozen=True)
class Server:
    """A service that was started here; the content of server.json.

    `born` is when the kernel says that the process began, so that another one of the same id isn't taken
    for it.
    """

    pid: int
    born: str
    address: str  # host:port that callers use

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return _born(self.pid) == self.born


def read_server(lake: Lake) -> Server | None:
    """The service that was started on this lake and runs, if any."""
    server = _recorded(lake)
    return server if server and server.alive else None


def start(lake: Lake, config: Config, release: Release) -> Server:
    """Start the service and wait until it has answered all canaries of the release; it outlives this process.

    Raises: StateError where one runs already, the environment is missing, a port is taken, or the service
    ends, with what it said last.
    """
    command, environment = prepare(lake, config, release)
    out = folder(lake) / "gateway.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(out), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(command[0], command, environment, file_actions=streams, setsid=True)
    server = _record(lake, config, pid)
    try:
        _wait_until_ready(lake, server, config.serving.patience + _RELOAD, out)
    except BaseException:
        stop(lake)
        raise
    return server


def run(lake: Lake, config: Config, release: Release) -> None:
    """Become the service: never returns. Raises: StateError, as `start` before it spawns."""
    command, environment = prepare(lake, config, release)
    _record(lake, config, os.getpid())
    os.execve(command[0], command, environment)


def prepare(lake: Lake, config: Config, release: Release) -> tuple[list[str], dict[str, str]]:
    """Write the gateway's settings; its command line and environment. Raises: StateError."""
    if (running := read_server(lake)) is not None:
        raise StateError(f"a service runs already: process {running.pid}; run `mmprod triton stop` first")
    stop(lake)  # what a killed one left
    section = config.serving
    for port in (section.port, section.port + 2):
        _check_free(section.host, port)
    python = section.environment / "bin" / "python"
    settings = _settings(lake, config, release)
    make_folder(folder(lake))
    path = folder(lake) / "settings.json"
    replace_file(path, settings.to_json())
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    command = [str(python.absolute()), "-P", "-m", "mmprod.serving.gateway", str(path.resolve())]
    return command, kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def stop(lake: Lake) -> Server | None:
    """End the service that was started on this lake, after the requests in flight; which, if it ran."""
    server = _recorded(lake)
    if server is None:
        return None
    ran = server.alive
    for sign in (signal.SIGTERM, signal.SIGKILL) if ran else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, sign)
        if _gone(server, _STOP):
            break
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)  # where this process started it
    (folder(lake) / "server.json").unlink(missing_ok=True)
    return server if ran else None


def status(lake: Lake) -> dict[str, Any]:
    """What the service says of itself. Raises: StateError where none runs or it doesn't answer."""
    return _asked(lake, "GET", "/status", patience=10)


def reload(lake: Lake, config: Config, release: Release) -> dict[str, Any]:
    """Let the running service go over to a release, without a gap; what it says.

    Raises: StateError where none runs, or the release doesn't answer as it should: then the one before goes
    on serving.
    """
    asked = {"release": str(release.path.resolve())}
    return _asked(lake, "POST", "/reload", asked, patience=config.serving.patience + _RELOAD)


def _asked(
    lake: Lake, method: str, path: str, content: dict[str, str] | None = None, *, patience: float
) -> dict[str, Any]:
    if read_server(lake) is None:
        raise StateError(f"no service runs on {lake.root}: run `mmprod triton start`")
    return control.ask(folder(lake), method, path, content, patience)


def _settings(lake: Lake, config: Config, release: Release) -> Settings:
    section, home = config.serving, _home(config)
    return Settings(
        folder=folder(lake).resolve(),
        release=release.path.resolve(),
        triton=home / "pytriton" / "tritonserver" / "bin" / "tritonserver",
        backends=home / "pytriton" / "tritonserver" / "backends",
        models=section.models.resolve(),
        site=home,
        libraries=_libraries(config),
        host=section.host,
        port=section.port,
        metrics_port=section.port + 2,
        threads=max(1, section.threads),
        config_name="",
        **section.model_dump(
            include={
                "shared_memory",
                "body_bytes",
                "body_seconds",
                "deadline",
                "requests",
                "patience",
                "probe_seconds",
                "log_share",
            }
        ),
    )


def _home(config: Config) -> Path:
    """Where the server's environment has its packages. Raises: StateError when there is none."""
    folder, models = config.serving.environment, config.serving.models
    if not (folder / ".installed").is_file():
        raise StateError(f"{folder} holds no server environment: run `make triton`")
    if not models.is_dir():
        raise StateError(f"{models} is no folder: name the model repository as serving.models")
    return next(folder.glob("lib/python*/site-packages")).resolve()


def _libraries(config: Config) -> str:
    """The folder of the Python library that the server's backend is linked to."""
    asked = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    python = config.serving.environment / "bin" / "python"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def folder(lake: Lake) -> Path:
    """Of everything that the service writes."""
    return lake.root / "server"


def _record(lake: Lake, config: Config, pid: int) -> Server:
    server = Server(pid, _born(pid) or "", f"{config.serving.host}:{config.serving.port}")
    replace_file(folder(lake) / "server.json", json.dumps(asdict(server)) + "\n")
    return server


def _recorded(lake: Lake) -> Server | None:
    try:
        return Server(**json.loads((folder(lake) / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StateError(f"port {port} of {host} is taken: set serving.port to another") from error


def _wait_until_ready(lake: Lake, server: Server, patience: float, log: Path) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if not server.alive:
            raise StateError(f"the service ended:\n{_end_of(log)}")
        with contextlib.suppress(StateError):
            if status(lake).get("ready"):
                return
        time.sleep(_ASK)
    raise StateError(f"the service is not ready after {patience:.0f} s:\n{_end_of(log)}")


def _end_of(log: Path, most: int = 10) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-most:])


def _born(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; None when there is none, or only its remains."""
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _gone(server: Server, patience: float) -> bool:
    until = time.monotonic() + patience
    while server.alive and time.monotonic() < until:
        time.sleep(_ASK)
    return not server.alive
