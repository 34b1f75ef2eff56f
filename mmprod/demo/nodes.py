"""A local Ray cluster for tests: a head and worker nodes, each of which can be killed.

Its dashboard listens on 127.0.0.1. Some of Ray's other ports listen on all addresses; Ray has no setting for
that.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import psutil

_HEAD = "127.0.0.2"  # Ray takes 127.0.0.1 for "any address of this machine"
_STARTING = 90.0  # seconds that a node may take to start
_MEMORY = 80_000_000  # bytes of each node's object store, which jobs don't use


class Nodes:
    """The running cluster: `address` accepts jobs; only worker nodes run them, one CPU each."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.port, self._dashboard, self._client = _free_port(), _free_port(), _free_port()
        self.address = f"http://127.0.0.1:{self._dashboard}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}  # IP address: `ray start --block`
        self._left: dict[str, list[psutil.Process]] = {}  # IP address of a killed node: its child processes
        self._environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment}

    def start_head(self) -> None:
        """Start the head and wait until it runs."""
        words = ["--head", f"--port={self.port}", "--num-cpus=0", f"--temp-dir={self.folder}"]
        words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard}"]
        self._start(_HEAD, [*words, f"--ray-client-server-port={self._client}"])

    def start_worker(self, number: int) -> str:
        """Start a worker node and wait until it runs; returns its IP address in the cluster."""
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
        until = time.monotonic() + _STARTING  # retried, as two nodes that start at once disturb each other
        while b"Ray runtime started" not in log.read_bytes():
            if time.monotonic() > until or self.running[ip].poll() is not None:
                raise TimeoutError(f"Ray node {ip} does not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self, ip: str) -> None:
        """Kill -9 only a node's own process (raylet); a job's process may survive."""
        self._left[ip] = _below(self.running[ip])
        for process in self._left[ip]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "raylet":
                    process.kill()

    def end(self, ip: str) -> None:
        """Kill -9 all remaining processes of a node."""
        started = self.running.pop(ip)
        for process in [*_below(started), *self._left.pop(ip, [])]:
            with contextlib.suppress(psutil.NoSuchProcess):  # also if another process has its pid by now
                process.kill()
        started.kill()
        started.wait()

    @property
    def head(self) -> str:
        """IP address of the head."""
        return _HEAD


@contextlib.contextmanager
def nodes(workers: int, environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[Nodes]:
    """A cluster of a head and `workers` nodes, with these environment variables; ended after the block."""
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


def _below(started: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All descendants of a process."""
    try:
        return psutil.Process(started.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
