"""The gateway as a process of its own, on a release of the test's world."""

import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mmprod.serving.gateway.settings import Settings
from mmprod.serving.gateway.triton import region_prefix

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs."""

    settings: Settings
    process: "subprocess.Popen[bytes]"

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        """Through its socket."""
        transport = httpx.HTTPTransport(uds=str(self.settings.folder / "control.sock"))
        with httpx.Client(transport=transport, timeout=90) as client:
            answer = client.request(method, f"http://gateway{path}", json=content)
            return answer.status_code, answer.json()

    def reload(self, release: Path) -> tuple[int, Any]:
        """Let it serve a release."""
        return self.ask("POST", "/reload", {"release": str(release)})

    @property
    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        return dict(self.ask("GET", "/status")[1])

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"http://{self.settings.host}:{self.settings.port}"

    def infer(self, model: str = "text_encoder", title: str = "red mug") -> httpx.Response:
        """Ask a model of titles."""
        inputs = [{"name": "TITLE", "datatype": "BYTES", "shape": [1, 1], "data": [title]}]
        return httpx.post(f"{self.url}/v2/models/{model}/infer", json={"inputs": inputs}, timeout=30)

    @property
    def ready(self) -> bool:
        """Whether it says that it is ready."""
        try:
            return httpx.get(f"{self.url}/v2/health/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def until(self, holds: Callable[[], Any], seconds: float = 60.0) -> float:
        """Wait until something holds; the seconds that it took."""
        begin = time.monotonic()
        while not holds():
            assert time.monotonic() - begin < seconds, f"it took too long: {self.said()}"
            time.sleep(0.02)
        return time.monotonic() - begin

    def until_ready(self, seconds: float = 60.0) -> float:
        """Wait until it is ready; the seconds that it took."""
        return self.until(lambda: self.ready or self.process.poll() is not None, seconds)

    @property
    def regions(self) -> set[str]:
        """What its servers share in memory."""
        return {path.name for path in Path("/dev/shm").glob(f"{region_prefix(self.settings)}*")}

    def models(self, triton: int) -> dict[str, int]:
        """Processes of a server's group that run, by the model each one runs; the server itself as ""."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                arguments = stat.with_name("cmdline").read_text().split("\0")
            except OSError:
                continue
            if int(fields[2]) == triton and len(arguments) > 1:  # one that has ended has none
                pid = int(stat.parent.name)
                found["" if pid == triton else Path(arguments[1]).parent.parent.name] = pid
        return found

    def said(self) -> str:
        """Its own log."""
        return (self.settings.folder / "gateway.log").read_text()


def free_port() -> int:
    """A port that is free."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def template(world: Any, environment: Path) -> Settings:
    """Settings of a gateway on the world's release, with a folder to be replaced."""
    site = next(environment.glob("lib/python*/site-packages")).resolve()
    home = site / "pytriton" / "tritonserver"
    return Settings(
        folder=world.folder / "nowhere",
        release=world.release.path.resolve(),
        triton=home / "bin" / "tritonserver",
        backends=home / "backends",
        models=ROOT / "triton_models",
        site=site,
        libraries=str(sysconfig.get_config_var("LIBDIR")),
        host="127.0.0.1",
        port=1,
        metrics_port=2,
        threads=1,
        config_name="",
        shared_memory=False,
        body_bytes=1_000_000,
        body_seconds=5.0,
        deadline=4.0,
        requests=256,
        start_seconds=60.0,
        probe_seconds=1.0,
        log_share=1.0,
    )


@pytest.fixture
def settings(template: Settings, tmp_path: Path) -> Settings:
    """Of a gateway of the test's own."""
    return replace(template, folder=tmp_path / "server", port=free_port(), metrics_port=free_port())


def run_gateway(settings: Settings, environment: Path) -> Gateway:
    """Start a gateway; it isn't ready yet."""
    settings.folder.mkdir(exist_ok=True)
    file = settings.folder / "settings.json"
    file.write_text(settings.to_json())
    command = [environment / "bin" / "python", "-P", "-m", "mmprod.serving.gateway", file]
    with (settings.folder / "gateway.log").open("ab") as out:
        return Gateway(settings, subprocess.Popen(command, stdout=out, stderr=out))


def end(gateway: Gateway) -> None:
    """Stop a gateway, whatever it does."""
    if gateway.process.poll() is None:
        gateway.process.send_signal(signal.SIGTERM)
        try:
            gateway.process.wait(20)
        finally:
            gateway.process.kill()


@pytest.fixture(scope="module")
def gateway(
    template: Settings, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One that all tests of a module ask; each leaves it ready."""
    folder = tmp_path_factory.mktemp("gateway")
    own = replace(template, folder=folder, port=free_port(), metrics_port=free_port())
    running = run_gateway(own, environment)
    try:
        running.until_ready()
        assert running.process.poll() is None, running.said()
        yield running
    finally:
        end(running)


@pytest.fixture
def start(environment: Path) -> Iterator[Callable[[Settings], Gateway]]:
    """Starts gateways that end with the test."""
    started: list[Gateway] = []

    def starting(settings: Settings) -> Gateway:
        started.append(run_gateway(settings, environment))
        return started[-1]

    yield starting
    for running in started:
        end(running)


@pytest.fixture
def release(world: Any, tmp_path: Path) -> Path:
    """A copy of the world's release, to be broken."""
    shutil.copytree(world.release.path, tmp_path / "g000099")
    return tmp_path / "g000099"
