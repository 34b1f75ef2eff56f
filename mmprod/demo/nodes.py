"""A Ray cluster on this machine alone, to try it on: a head and worker nodes, each of which can be killed.

Its dashboard listens on 127.0.0.1; some of Ray's other ports listen everywhere, which it has no setting for.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

_HEAD = "127.0.0.2"  # Ray takes 127.0.0.1 for "any address of this machine"
_STARTING = 90.0  # seconds that a node may take to start
_MEMORY = 80_000_000  # bytes of each node's object store, which jobs don't use


class Nodes:
    """The running cluster: `address` takes jobs in; only worker nodes run them, one CPU each."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.port, self._dashboard, self._client = _free_port(), _free_port(), _free_port()
        self.address = f"http://127.0.0.1:{self._dashboard}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}  # IP address: `ray start --block`
        self._orphans: list[int] = []  # of killed nodes
        self._environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment}

    def start_head(self) -> None:
        """Start the head and wait until it runs."""
        words = ["--head", f"--port={self.port}", "--num-cpus=0", f"--temp-dir={self.folder}"]
        words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard}"]
        self._start(_HEAD, [*words, f"--ray-client-server-port={self._client}"])

    def start_worker(self, number: int) -> str:
        """Start a worker node and wait until it runs; its IP address, which the cluster knows it by."""
        ip = f"127.0.0.{3 + number}"
        self._start(ip, [f"--address={_HEAD}:{self.port}", "--num-cpus=1"])
        return ip

    def _start(self, ip: str, words: list[str]) -> None:
        words += [f"--node-ip-address={ip}", f"--object-store-memory={_MEMORY}"]
        words += [f"--dashboard-agent-listen-port={_free_port()}", "--disable-usage-stats", "--block"]
        ray = str(Path(sys.executable).with_name("ray"))
        log = self.folder / f"{ip}.log"
        with log.open("wb") as file:
            self.running[ip] = subprocess.Popen(
                [ray, "start", *words],
                stdout=file,
                stderr=file,
                env=self._environment,
                start_new_session=True,
            )
        until = time.monotonic() + _STARTING  # two that start at once get in each other's way
        while b"Ray runtime started" not in log.read_bytes():
            if time.monotonic() > until or self.running[ip].poll() is not None:
                raise TimeoutError(f"Ray node {ip} does not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self, ip: str) -> None:
        """Kill -9 a node's own process (raylet) and no more: a job's process may live on there."""
        self._orphans += (processes := descendants(self.running[ip].pid))
        for pid in processes:
            if _command(pid).partition(" ")[0].endswith("/raylet"):
                os.kill(pid, signal.SIGKILL)

    def end(self, ip: str) -> None:
        """Kill -9 all that is left of a node."""
        process = self.running.pop(ip)
        for pid in [process.pid, *descendants(process.pid), *self._orphans]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    @property
    def head(self) -> str:
        """IP address of the head."""
        return _HEAD


@contextlib.contextmanager
def nodes(workers: int, environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[Nodes]:
    """A cluster of a head and so many workers, with these variables; nothing is left after the block."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        cluster = Nodes(Path(folder), environment)
        try:
            cluster.start_head()
            for number in range(workers):
                cluster.start_worker(number)
            yield cluster
        finally:
            for ip in list(cluster.running):
                cluster.end(ip)


def descendants(pid: int) -> list[int]:
    """All processes that a process has started, and they, and so on."""
    with contextlib.suppress(OSError):
        children = [int(c) for t in Path(f"/proc/{pid}/task").iterdir() for c in _words(t / "children")]
        return children + [deeper for child in children for deeper in descendants(child)]
    return []


def _words(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return file.read_text().split()
    return []


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
