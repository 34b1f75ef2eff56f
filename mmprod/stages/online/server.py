"""The service on this machine: the gateway is a separate process, and Triton is the gateway's child."""

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
from mmprod.shipped import MAKE_TRITON
from mmprod.stages.online import control
from mmprod.stages.online.model_repository import repository
from mmprod.storage import processes
from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder, replace_file

_POLL = 0.1  # seconds between checks
_STOP = 30.0  # seconds until a service that does not stop is killed
_PROBES = 60.0  # seconds for the canaries of a new server, in addition to serving.start_seconds


@dataclass(frozen=True)
class Server:
    """A service that was started here; the content of server.json.

    `born` is the start time of its process, so that another process with the same id isn't mistaken for it.
    """

    pid: int
    born: str
    address: str  # host:port for clients

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return bool(self.born) and processes.born(self.pid) == self.born


def read_server(lake: Lake) -> Server | None:
    """The service that was started on this lake, if it runs."""
    server = _recorded(lake)
    return server if server and server.alive else None


def start(lake: Lake, config: Config, release: Release) -> Server:
    """Start the service and wait until it has answered all canaries of the release; it outlives this process.

    Raises: StateError if one runs already, the environment is missing or a port is taken; or if the service
    ends, with the last lines of its log.
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
        _wait_until_ready(lake, server, config.serving.start_seconds + _PROBES, out)
    except BaseException:
        stop(lake)
        raise
    return server


def run(lake: Lake, config: Config, release: Release) -> None:
    """Replace this process by the service: never returns. Raises: StateError, as `prepare`."""
    command, environment = prepare(lake, config, release)
    _record(lake, config, os.getpid())
    os.execve(command[0], command, environment)


def prepare(lake: Lake, config: Config, release: Release) -> tuple[list[str], dict[str, str]]:
    """Write the gateway's settings; its command line and environment variables. Raises: StateError."""
    if (running := read_server(lake)) is not None:
        raise StateError(f"a service runs already: process {running.pid}; run `mmprod triton stop` first")
    stop(lake)  # clean up after a killed one
    section = config.serving
    for port in (section.port, section.port + 2):
        _check_free(section.host, port)
    python = section.environment / "bin" / "python"
    settings = _settings(lake, config, release)
    make_folder(folder(lake))
    path = folder(lake) / "settings.json"
    replace_file(path, settings.to_json())
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    command = [str(python.absolute()), "-P", "-m", "mmprod.serving.gateway", str(path.resolve())]
    return command, inherited | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def stop(lake: Lake) -> Server | None:
    """Stop the service that was started on this lake, after the requests in flight; None if none ran."""
    server = _recorded(lake)
    if server is None:
        return None
    ran = server.alive
    for number in (signal.SIGTERM, signal.SIGKILL) if ran else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, number)
        if _ended(server, _STOP):
            break
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)  # if this process started it
    (folder(lake) / "server.json").unlink(missing_ok=True)
    return server if ran else None


def status(lake: Lake) -> dict[str, Any]:
    """The gateway's status. Raises: StateError if none runs or it doesn't answer."""
    return _call(lake, "GET", "/status", timeout=10)


def reload(lake: Lake, config: Config, release: Release) -> dict[str, Any]:
    """Switch the running service to a release without downtime; its answer.

    Raises: StateError if none runs, or if the release fails its probe; the old release is served then.
    """
    content = {"release": str(release.path.resolve())}
    return _call(lake, "POST", "/reload", content, timeout=config.serving.start_seconds + _PROBES)


def _call(
    lake: Lake, method: str, path: str, content: dict[str, str] | None = None, *, timeout: float
) -> dict[str, Any]:
    if read_server(lake) is None:
        raise StateError(f"no service runs on {lake.root}: run `mmprod triton start`")
    return control.call(folder(lake), method, path, content, timeout)


def _settings(lake: Lake, config: Config, release: Release) -> Settings:
    section, home = config.serving, _home(config)
    return Settings(
        folder=folder(lake).resolve(),
        release=release.path.resolve(),
        triton=home / "pytriton" / "tritonserver" / "bin" / "tritonserver",
        backends=home / "pytriton" / "tritonserver" / "backends",
        models=repository(section, folder(lake) / "models").resolve(),
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
                "start_seconds",
                "probe_seconds",
                "log_share",
            }
        ),
    )


def _home(config: Config) -> Path:
    """The site-packages of the server's environment. Raises: StateError if there is no environment."""
    folder = config.serving.environment
    if not (folder / ".installed").is_file():
        raise StateError(f"{folder} holds no server environment: run `{MAKE_TRITON}`")
    return next(folder.glob("lib/python*/site-packages")).resolve()


def _libraries(config: Config) -> str:
    """The folder of the Python library to which Triton's Python backend is linked."""
    code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    python = config.serving.environment / "bin" / "python"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def folder(lake: Lake) -> Path:
    """The folder for all files that the service writes."""
    return lake.root / "server"


def _record(lake: Lake, config: Config, pid: int) -> Server:
    server = Server(pid, processes.born(pid), f"{config.serving.host}:{config.serving.port}")
    replace_file(folder(lake) / "server.json", json.dumps(asdict(server)) + "\n")
    return server


def _recorded(lake: Lake) -> Server | None:
    try:
        return Server(**json.loads((folder(lake) / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _check_free(host: str, port: int) -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise StateError(f"port {port} of {host} is taken: set serving.port to another") from error


def _wait_until_ready(lake: Lake, server: Server, timeout: float, log: Path) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if not server.alive:
            raise StateError(f"the service ended:\n{_last_lines(log)}")
        with contextlib.suppress(StateError):
            if status(lake).get("ready"):
                return
        time.sleep(_POLL)
    raise StateError(f"the service is not ready after {timeout:.0f} s:\n{_last_lines(log)}")


def _last_lines(log: Path, most: int = 10) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-most:])


def _ended(server: Server, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while server.alive and time.monotonic() < end:
        time.sleep(_POLL)
    return not server.alive
