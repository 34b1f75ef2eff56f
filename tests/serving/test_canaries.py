"""Canaries: right answers pass, whatever is wrong with others is said in words."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmprod.serving.canaries import FILE, Canary, difference, read_canaries, write_canaries
from mmprod.serving.probe import probe
from mmprod.serving.repository import MODELS
from mmprod.storage.errors import StateError

CANARY = Canary("text_encoder", {"inputs": []}, {"VECTOR": [0.5, None, -1.0], "ENCODER": ["ab"]}, close=0.01)


def _answer(vector: list[float | None], encoder: list[str] | None = None) -> bytes:
    outputs = [{"name": "VECTOR", "data": vector}, {"name": "ENCODER", "data": encoder or ["ab"]}]
    return json.dumps({"outputs": outputs}).encode()


@pytest.mark.parametrize("vector", [[0.5, None, -1.0], [0.509, float("nan"), -0.991], [0.5, None, -1]])
def test_what_is_as_close_as_it_should_be_is_right(vector: list[float | None]) -> None:
    assert difference(CANARY, 200, _answer(vector)) is None


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b'{"error":"stub is gone"}', "text_encoder answers 500: .*stub is gone"),
        (200, b"<html>", "the answer can't be read"),
        (200, b'{"outputs": 3}', "the answer can't be read"),
        (200, _answer([]), "answers with 0 values of VECTOR, want 3"),
        (200, b'{"outputs": []}', "answers with no values of VECTOR"),
        (200, _answer([0.52, None, -1.0]), "VECTOR has 0.52, expected 0.5"),
        (200, _answer([0.5, 0.0, -1.0]), "VECTOR has 0.0, expected None"),
        (200, _answer([None, None, -1.0]), "VECTOR has None, expected 0.5"),
        (200, _answer([0.5, None, -1.0], ["cd"]), "ENCODER has 'cd', expected 'ab'"),
    ],
)
def test_what_is_wrong_is_said(status: int, body: bytes, said: str) -> None:
    with pytest.raises(StateError, match=said):
        raise StateError(difference(CANARY, status, body))


def test_a_release_asks_every_model_and_every_profile(world: Any) -> None:
    canaries = read_canaries(world.release.path)
    assert {canary.model for canary in canaries} == {model.name for model in MODELS}
    asked = {i["data"][0] for c in canaries for i in c.request["inputs"] if i["name"] == "PROFILE"}
    assert asked == set(world.release.profiles)
    for canary in canaries:
        model = next(model for model in MODELS if model.name == canary.model)
        assert {tensor["name"] for tensor in canary.request["inputs"]} <= set(model.inputs)
        assert set(canary.expected) <= set(model.outputs)


def test_canaries_come_back_as_written(tmp_path: Path) -> None:
    write_canaries(tmp_path, [CANARY])
    assert read_canaries(tmp_path) == [CANARY]


@pytest.mark.parametrize("content", [None, "[]", "[{}]", "{", '[{"model": 3}]'])
def test_canaries_that_cant_be_read_are_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(StateError, match="run `mmprod release build`"):
        read_canaries(tmp_path)


class _Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = _answer([0.5, None, self.server.last])  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Any]:
    """Something that speaks HTTP and gives one answer, whose last value the test chooses."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.last = -1.0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_probe_as_a_command(served: Any, tmp_path: Path) -> None:
    write_canaries(tmp_path, [CANARY] * 3)
    address = f"127.0.0.1:{served.server_port}"
    command = [sys.executable, "-P", "-m", "mmprod.serving.probe", "--address", address]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, text=True, check=False)

    right = run("--release", str(tmp_path))
    assert right.returncode == 0 and right.stdout.endswith("text_encoder answer as they should\n")
    served.last = 1.0
    wrong = run("--release", str(tmp_path))
    assert wrong.returncode == 1 and "VECTOR has 1.0, expected -1.0" in wrong.stderr
    assert run("--release", str(tmp_path / "none")).returncode == 1
    assert "--release or $MMPROD_RELEASE" in run().stderr


def test_nobody_there() -> None:
    with pytest.raises(StateError, match="doesn't answer"):
        probe("127.0.0.1:1", [CANARY])
