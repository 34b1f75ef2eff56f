"""The local Triton server: started as a process group of its own, proved by a value, stopped by its id."""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mmprod.datasets.errors import StateError
from mmprod.datasets.files import replace_file
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.serving.release import Release

ADDRESS = "127.0.0.1"
_CLOSED = "model-repository,shared-memory,logging,trace"
_COMPLAINT = re.compile(r"^E\d{4} |^error|Error: ")
_ASK = 0.1  # seconds between looks
_STOP = 20.0  # seconds until a server that should end is ended


@dataclass(frozen=True)
class Server:
    """A server that was started here; the content of server.json.

    `born` is when the kernel says that the process began, so that another one of the same id isn't taken
    for it.
    """

    pid: int
    born: str
    port: int
    release: str

    @property
    def address(self) -> str:
        return f"{ADDRESS}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return _born(self.pid) == self.born


def read_server(lake: Lake) -> Server | None:
    """The server that was started on this lake and runs, if any."""
    server = _recorded(lake)
    return server if server and server.alive else None


def launch(lake: Lake, config: Config, release: Release) -> Server:
    """Start the server on a release and wait until it says that it is ready.

    Raises: StateError where one runs already, the environment is missing, the port is taken, or the server
    ends, with the last lines of its log.
    """
    if (running := read_server(lake)) is not None:
        raise StateError(f"a server runs already: process {running.pid}; run `mmprod triton stop` first")
    stop(lake)  # what a killed one left
    section = config.serving
    for port in (section.port, section.port + 2):
        _check_free(port)
    command, environment = _command(config), _environment(config, release)
    _file(lake).parent.mkdir(parents=True, exist_ok=True)
    pid = _spawn(command, environment, log_file(lake))
    server = Server(pid, _born(pid) or "", section.port, release.path.name)
    replace_file(_file(lake), json.dumps(asdict(server)) + "\n")
    try:
        _wait_until_ready(lake, server, section.patience)
    except BaseException:
        stop(lake)
        raise
    return server


def stop(lake: Lake) -> Server | None:
    """End the server that was started on this lake, and its models' processes; the server it was, if it ran.

    Processes of models that outlived a killed server are ended too: while they live, the kernel gives the
    number of their group to nobody else.
    """
    server = _recorded(lake)
    if server is None:
        return None
    ran = server.alive
    if ran:
        os.kill(server.pid, signal.SIGTERM)
        _gone(server, _STOP)
    if _born(server.pid) in (None, server.born):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        _gone(server, _STOP)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)  # where this process started it
    _file(lake).unlink(missing_ok=True)
    return server if ran else None


def log_file(lake: Lake) -> Path:
    """What the server says."""
    return lake.root / "server" / "triton.log"


def _file(lake: Lake) -> Path:
    return lake.root / "server" / "server.json"


def _recorded(lake: Lake) -> Server | None:
    try:
        return Server(**json.loads(_file(lake).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _home(config: Config) -> Path:
    """Where the wheel has the server. Raises: StateError when there is no environment."""
    folder = config.serving.environment
    if not (folder / ".installed").is_file():
        raise StateError(f"{folder} holds no server environment: run `make triton`")
    return next(folder.glob("lib/python*/site-packages")).resolve()


def _command(config: Config) -> list[str]:
    section, home = config.serving, _home(config) / "pytriton" / "tritonserver"
    if not section.models.is_dir():
        raise StateError(f"{section.models} is no folder: name the model repository as serving.models")
    return [
        str(home / "bin" / "tritonserver"),
        f"--model-repository={section.models.resolve()}",
        f"--backend-directory={home / 'backends'}",
        f"--http-address={ADDRESS}",
        f"--http-port={section.port}",
        "--allow-grpc=false",
        f"--metrics-address={ADDRESS}",
        f"--metrics-port={section.port + 2}",
        f"--http-restricted-api={_CLOSED}:off={secrets.token_hex()}",  # a key that nobody knows
        "--model-control-mode=none",
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=10",
    ]


def _environment(config: Config, release: Release) -> dict[str, str]:
    """Of the server: nothing of ours but what it needs."""
    python = config.serving.environment / "bin" / "python"
    asked = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return kept | {
        "LD_LIBRARY_PATH": told.stdout.strip(),
        "MMPROD_SITE": str(_home(config)),
        "MMPROD_RELEASE": str(release.path.resolve()),
        "OMP_NUM_THREADS": str(max(1, config.serving.threads)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _spawn(command: list[str], environment: dict[str, str], out: Path) -> int:
    """Start a process in a session, so a group, of its own; it outlives this one. Its id."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(out), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], command, environment, file_actions=streams, setsid=True)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise StateError(f"port {port} of {ADDRESS} is taken: set serving.port to another") from error


def _wait_until_ready(lake: Lake, server: Server, patience: float) -> None:
    import httpx

    until = time.monotonic() + patience
    while time.monotonic() < until:
        if not server.alive:
            raise StateError(f"the server ended:\n{_complaints(lake)}")
        try:
            if httpx.get(f"http://{server.address}/v2/health/ready", timeout=1).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(_ASK)
    raise StateError(f"the server is not ready after {patience:.0f} s:\n{_complaints(lake)}")


def _complaints(lake: Lake, most: int = 10) -> str:
    """The errors in the server's log, or its end where it tells of none."""
    lines = log_file(lake).read_text(errors="replace").splitlines()
    errors = [line for line in lines if _COMPLAINT.search(line)]
    return "\n".join((errors or lines)[-most:])


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
