"""A gateway and real Tritons: what is broken never serves, what breaks is replaced, no request is lost."""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow


def _change(file: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file, not the one that it is a link to."""
    content = json.loads(file.read_bytes())
    change(content)
    file.unlink()
    file.write_text(json.dumps(content))


def _truncated_engine(release: Path) -> None:
    file = release / "engine" / "text.onnx"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


def _another_encoder(release: Path) -> None:
    """An index whose own description names another encoder; its checksum in the release is right."""
    file = release / "indexes" / "same_item" / "build.json"
    _change(file, lambda build: build.update(encoder="ab" * 32))
    told = {"build.json": hashlib.sha256(file.read_bytes()).hexdigest()}
    _change(release / "release.json", lambda found: found["profiles"]["same_item"]["files"].update(told))


def _another_answer(release: Path) -> None:
    def change(canaries: Any) -> None:
        found = next(canary for canary in canaries if canary["model"] == "image_encoder")
        found["expected"]["VECTOR"][3] += 0.1

    _change(release / "canaries.json", change)


def _missing_file(release: Path) -> None:
    (release / "indexes" / "selection" / "items.parquet").unlink()


def _no_canaries(release: Path) -> None:
    (release / "canaries.json").unlink()


@pytest.mark.parametrize(
    ("breaking", "reason"),
    [
        (_truncated_engine, "text.onnx"),
        (_another_encoder, "abababab"),
        (_another_answer, "image_encoder: VECTOR"),
        (_missing_file, "items.parquet"),
        (_no_canaries, "canaries.json"),
    ],
)
def test_a_broken_release_leaves_the_old_one(
    gateway: Any, release: Path, breaking: Callable[[Path], None], reason: str
) -> None:
    before = gateway.status
    breaking(release)
    begin = time.monotonic()
    code, told = gateway.reload(release)
    print(f"refused after {time.monotonic() - begin:.1f} s: {told['error'].splitlines()[-1]}")
    assert code == 409 and reason in told["error"]
    after = gateway.status
    assert (after["release"], after["triton"], after["ready"]) == (before["release"], before["triton"], True)
    assert reason in after["refused"] and release.name in after["refused"]
    assert after["counts"]["reloads_refused"] == before["counts"].get("reloads_refused", 0) + 1
    assert gateway.infer().status_code == 200
    assert len(gateway.regions) == 5  # those of the broken one are gone


class Load:
    """Requests one after the other in some threads, for as long as it is entered; answers by status."""

    def __init__(self, gateway: Any, threads: int = 3) -> None:
        self.gateway, self.statuses, self.releases = gateway, Counter[int](), Counter[str]()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(threads)]
        self._over = threading.Event()

    def _ask(self, number: int) -> None:
        count = 0
        with httpx.Client(timeout=30) as client:
            while not self._over.is_set():
                count += 1
                inputs = [
                    {"name": "TITLE", "datatype": "BYTES", "shape": [1, 1], "data": [f"mug {number} {count}"]}
                ]
                url = f"{self.gateway.url}/v2/models/text_encoder/infer"
                answer = client.post(url, json={"inputs": inputs})
                self.statuses[answer.status_code] += 1
                self.releases[answer.headers["X-Mmprod-Release"]] += 1
                time.sleep(0.01)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_a_reload_under_requests_loses_none(gateway: Any, release: Path) -> None:
    old = Path(gateway.settings.release)
    before = gateway.status["triton"]
    with Load(gateway) as load:
        for target in (release, old):
            begin = time.monotonic()
            code, told = gateway.reload(target)
            print(f"reload: {time.monotonic() - begin:.1f} s")
            assert code == 200 and told["release"] == target.name and len(told["checked"]) == 5
            assert gateway.infer().headers["X-Mmprod-Release"] == target.name
    assert set(load.statuses) == {200} and load.statuses[200] > 50
    assert set(load.releases) == {release.name, old.name}
    gateway.until(lambda: not gateway.models(before) and len(gateway.regions) == 5)


def test_of_two_reloads_at_once_one_is_refused(gateway: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        codes = sorted(code for code, _ in pool.map(gateway.reload, [gateway.settings.release] * 2))
    assert codes == [200, 409] and gateway.ready


def test_a_reload_needs_a_folder(gateway: Any) -> None:
    for content in ({}, {"release": 3}, [], "x"):
        code, told = gateway.ask("POST", "/reload", content)
        assert code == 400 and "error" in told
    assert gateway.reload(Path("/nonexistent"))[0] == 409
    assert gateway.ready


def test_only_the_owner_may_operate(gateway: Any) -> None:
    assert (gateway.settings.folder / "control.sock").stat().st_mode & 0o777 == 0o600


def test_a_killed_triton_is_replaced(gateway: Any) -> None:
    before = gateway.status
    os.kill(before["triton"], signal.SIGKILL)
    gateway.until(lambda: not gateway.ready, 5)
    answer = gateway.infer()
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    print(f"Triton killed: ready again after {gateway.until_ready():.1f} s")
    after = gateway.status
    assert after["triton"] != before["triton"] and after["complaint"] == ""
    assert after["counts"]["restarts"] == before["counts"].get("restarts", 0) + 1
    gateway.until(lambda: len(gateway.regions) == 5)
    assert gateway.models(before["triton"]) == {}
    assert gateway.infer().status_code == 200


def test_a_killed_model_is_replaced_while_the_others_answer(gateway: Any) -> None:
    before = gateway.status["triton"]
    os.kill(gateway.models(before)["image_encoder"], signal.SIGKILL)
    print(f"a model killed: noticed after {gateway.until(lambda: not gateway.ready, 5):.2f} s")
    assert "image_encoder" in gateway.status["complaint"]
    statuses = Counter()
    begin = time.monotonic()
    while not gateway.ready:
        statuses[gateway.infer().status_code] += 1
    print(f"ready again after {time.monotonic() - begin:.1f} s, {statuses[200]} answers of others meanwhile")
    assert set(statuses) == {200}
    assert gateway.status["triton"] != before
    gateway.until(lambda: not gateway.models(before))


def test_a_model_that_hangs_is_found_by_asking_it(gateway: Any) -> None:
    """Its process lives, and Triton says READY."""
    before = gateway.status["triton"]
    os.kill(gateway.models(before)["text_encoder"], signal.SIGSTOP)
    print(f"a model stopped: noticed after {gateway.until(lambda: not gateway.ready, 20):.1f} s")
    assert "text_encoder" in gateway.status["complaint"]
    print(f"ready again after {gateway.until_ready():.1f} s")
    assert gateway.status["triton"] != before
    gateway.until(lambda: not gateway.models(before))


def test_who_kills_the_gateway_ends_all_and_the_next_cleans_up(
    start: Callable[..., Any], settings: Any
) -> None:
    first = start(settings)
    print(f"start: {first.until_ready():.1f} s")
    triton = first.status["triton"]
    assert len(first.models(triton)) == 6 and len(first.regions) == 5
    first.process.kill()
    print(f"gateway killed: all gone after {first.until(lambda: not first.models(triton), 5):.2f} s")
    left = first.regions
    second = start(settings)
    second.until_ready()
    assert second.infer().status_code == 200
    assert left and not left & second.regions
    assert "regions that a killed gateway left" in second.said()
    triton = second.status["triton"]
    assert second.ask("POST", "/stop") == (200, {})
    assert second.process.wait(15) == 0 and not second.models(triton) and not second.regions


def test_a_stop_answers_what_is_in_flight(start: Callable[..., Any], settings: Any) -> None:
    gateway = start(settings)
    gateway.until_ready()
    triton = gateway.status["triton"]
    busy = gateway.models(triton)["text_encoder"]
    os.kill(busy, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(gateway.infer, title=f"mug {n}") for n in range(4)]
        gateway.until(lambda: gateway.status["in_flight"] >= 4)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.until(lambda: not gateway.ready)
        os.kill(busy, signal.SIGCONT)
        assert [answer.result().status_code for answer in answers] == [200] * 4
    begin = time.monotonic()
    assert gateway.process.wait(15) == 0
    print(f"ended {time.monotonic() - begin:.2f} s after the last answer")
    assert not gateway.models(triton) and not gateway.regions


def test_a_second_gateway_is_refused(gateway: Any, start: Callable[..., Any], settings: Any) -> None:
    same_folder = start(replace(settings, folder=gateway.settings.folder))
    assert same_folder.process.wait(20) == 1 and "runs already" in same_folder.said()
    same_port = start(replace(settings, port=gateway.settings.port))
    assert same_port.process.wait(20) == 1 and str(gateway.settings.port) in same_port.said()
    assert gateway.ready and gateway.infer().status_code == 200


def test_a_broken_release_ends_the_start_with_the_reason(
    start: Callable[..., Any], settings: Any, release: Path
) -> None:
    _truncated_engine(release)
    gateway = start(replace(settings, release=release))
    assert gateway.process.wait(60) == 1
    assert "text.onnx" in gateway.said() and not gateway.regions
    shutil.rmtree(release)


def test_a_program_that_is_not_there_is_told(start: Callable[..., Any], settings: Any) -> None:
    gateway = start(replace(settings, triton=settings.folder / "tritonserver"))
    assert gateway.process.wait(20) == 1
    assert "tritonserver can't be started" in gateway.said() and "Traceback" not in gateway.said()


def test_a_large_log_is_put_aside(start: Callable[..., Any], settings: Any) -> None:
    settings.folder.mkdir()
    (settings.folder / "triton.log").write_bytes(b"old\n" * 2_500_001)
    gateway = start(replace(settings, triton=Path("/bin/false")))
    assert gateway.process.wait(20) == 1 and "Triton ended" in gateway.said()
    assert (settings.folder / "triton.log.1").stat().st_size > 10_000_000
    assert (settings.folder / "triton.log").stat().st_size < 1000
