"""Starting, reloading and ending the service on this machine, as an operator does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from mmprod.config import Config, load
from mmprod.lake import Lake
from mmprod.serving.client import Client
from mmprod.serving.release import Release
from mmprod.serving.types import Product
from mmprod.stages.online import server
from mmprod.stages.online.model_repository import write_repository
from mmprod.stages.online.release import make_release
from mmprod.storage.errors import StateError

pytestmark = pytest.mark.slow
EMPTY = """
import os, sys
sys.path.insert(0, os.environ["MMPROD_SITE"])
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answer = [pb_utils.Tensor("VECTOR", np.empty((1, 0), np.float32)),
                  pb_utils.Tensor("ENCODER", np.array([[b""]], np.object_))]
        return [pb_utils.InferenceResponse(answer) for _ in requests]
"""


@pytest.fixture
def config(own: Any, environment: Path, another_port: int) -> Iterator[Config]:
    """Of a service of the test's own."""
    yield load(own.folder / "mmprod.toml", {"serving.port": another_port}).config
    server.stop(own.lake)


def _mmprod(own: Any, *arguments: str, port: int) -> dict[str, Any]:
    """What a command says, as an operator would run it."""
    command = [Path(sys.executable).parent / "mmprod", *arguments, "--json"]
    environment = {**os.environ, "MMPROD_SERVING__PORT": str(port)}
    done = subprocess.run(
        command, cwd=own.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_from_start_to_stop(own: Any, config: Config, another_port: int) -> None:
    """Started, asked, reloaded on a release with another threshold, rolled back, stopped."""
    a, b = own.both()[:2]

    def threshold() -> float:
        with Client(f"127.0.0.1:{another_port}") as client:
            return client.similarity([(Product(a), Product(b))], "similar_item")[0].threshold

    started = _mmprod(own, "triton", "start", port=another_port)
    assert started["release"] == "g000001" and len(started["checked"]) == 5
    assert _mmprod(own, "triton", "status", port=another_port)["running"]
    assert threshold() != threshold()  # NaN: there is none
    stricter = config.serving.model_copy(update={"thresholds": {"similar_item": {"all": 0.75}}})
    make_release(own.lake, config.model_copy(update={"serving": stricter}))
    assert _mmprod(own, "triton", "reload", port=another_port)["release"] == "g000002"
    assert threshold() == pytest.approx(0.75)
    assert _mmprod(own, "release", "rollback", port=another_port)["generation"] == "g000001"
    assert _mmprod(own, "triton", "reload", port=another_port)["release"] == "g000001"
    assert threshold() != threshold()
    assert _mmprod(own, "triton", "stop", port=another_port)["stopped"] == started["pid"]
    assert _mmprod(own, "triton", "status", port=another_port) == {"running": False}
    assert not _processes_of(own.folder)


def test_a_release_that_answers_otherwise_is_not_gone_over_to(own: Any, config: Config) -> None:
    started = server.start(own.lake, config, own.release)
    bad = own.folder / "bad"
    shutil.copytree(own.release.path, bad)
    canaries = json.loads((bad / "canaries.json").read_text())
    canaries[0]["expected"]["VECTOR"][0] += 0.5
    (bad / "canaries.json").write_text(json.dumps(canaries))
    with pytest.raises(StateError, match="text_encoder: VECTOR has"):
        server.reload(own.lake, config, Release.read(bad))
    assert server.status(own.lake)["release"] == "g000001"
    with Client(started.address) as client:
        assert len(client.titles(["red mug"])) == 1


def test_a_model_that_is_ready_but_answers_nothing_stops_the_start(own: Any, config: Config) -> None:
    """Every model is READY, one gives empty outputs."""
    write_repository(config.serving, own.folder / "models")
    (own.folder / "models" / "text_encoder" / "1" / "model.py").write_text(EMPTY)
    section = config.serving.model_copy(update={"models": own.folder / "models"})
    with pytest.raises(StateError, match="text_encoder answers"):
        server.start(own.lake, config.model_copy(update={"serving": section}), own.release)
    assert server.read_server(own.lake) is None and not _processes_of(own.folder)


def test_a_release_that_does_not_fit_stops_the_start(own: Any, config: Config) -> None:
    bad = own.folder / "bad"
    shutil.copytree(own.release.path, bad)
    content = json.loads((bad / "release.json").read_text())
    (bad / "release.json").write_text(json.dumps(content | {"encoder": "0" * 64}))
    with pytest.raises(StateError, match=f"of encoder {own.release.encoder}, the release of {'0' * 64}"):
        server.start(own.lake, config, Release.read(bad))
    assert server.read_server(own.lake) is None


def test_a_second_one_is_refused(own: Any, config: Config) -> None:
    started = server.start(own.lake, config, own.release)
    with pytest.raises(StateError, match="a service runs already"):
        server.start(own.lake, config, own.release)
    assert server.read_server(own.lake) == started
    assert not type(started)(**{**asdict(started), "born": "1"}).alive  # another process of that number
    section = config.serving.model_copy(update={"port": config.serving.port - 2})
    with pytest.raises(StateError, match=rf"port {config.serving.port} of 127\.0\.0\.1 is taken"):
        server.start(Lake(own.folder / "other"), config.model_copy(update={"serving": section}), own.release)


def test_killed_it_is_gone_and_starts_anew(own: Any, config: Config) -> None:
    """Triton and its models' processes too: none is left to hold memory or the port."""
    started = server.start(own.lake, config, own.release)
    os.kill(started.pid, signal.SIGKILL)
    until = time.monotonic() + 20  # a dying process has no command line any more before it is gone
    while (_processes_of(own.folder) or server.read_server(own.lake)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not _processes_of(own.folder) and server.read_server(own.lake) is None
    again = server.start(own.lake, config, own.release)
    assert httpx.get(f"http://{again.address}/v2/health/ready").is_success


def test_without_a_service_it_says_what_to_do(own: Any) -> None:
    for ask in (server.status, lambda lake: server.reload(lake, own.config, own.release)):
        with pytest.raises(StateError, match="run `mmprod triton start`"):
            ask(own.lake)
    assert server.stop(own.lake) is None


def test_without_an_environment_it_says_what_to_do(own: Any) -> None:
    section = own.config.serving.model_copy(update={"environment": own.folder})
    with pytest.raises(StateError, match="run `make triton`"):
        server.start(own.lake, own.config.model_copy(update={"serving": section}), own.release)


def _processes_of(folder: Path) -> list[str]:
    """Commands and environments of processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        told = _text(path / "cmdline") + _text(path / "environ")
        if str(folder) in told and path.name != str(os.getpid()):
            found.append(_text(path / "cmdline"))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
