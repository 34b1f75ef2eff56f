"""The real server: it answers as this process does, refuses alone what is at fault, and ends when told to."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from mmprod.client import Client
from mmprod.config import Config
from mmprod.datasets.errors import StateError
from mmprod.lake import Lake
from mmprod.serving.products import Product
from mmprod.serving.refused import Refused
from mmprod.serving.release import Release
from mmprod.serving.service import Service
from mmprod.stages.canary import check_server
from mmprod.stages.server import launch, read_server, stop

pytestmark = pytest.mark.slow
_IN_THE_SERVERS = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from mmprod.serving.products import Product
from mmprod.serving.release import Release
from mmprod.serving.service import Service
import numpy

service = Service.open(Release.read(Path(sys.argv[1])), threads=1)
pairs = [(Product(a), Product(title=b)) for a, b in json.loads(sys.argv[2])]
found = [asdict(one) for one in service.similarity(pairs, "same_item")]
print(json.dumps({"found": found, "numpy": numpy.__version__, "torch": "torch" in sys.modules}))
"""


def test_the_service_is_the_same_in_the_servers_environment(
    service: Service, world: Any, environment: Path
) -> None:
    asked = [(name, f"{name} red mug 灯") for name in world.both()[:5]]
    command = [environment / "bin" / "python", "-P", "-c", _IN_THE_SERVERS]
    done = subprocess.run(
        [*command, str(world.release.path), json.dumps(asked)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["numpy"].startswith("1.") and not told["torch"]
    wanted = service.similarity([(Product(a), Product(title=b)) for a, b in asked], "same_item")
    for one, other in zip(told["found"], wanted, strict=True):
        assert one == pytest.approx(asdict(other), abs=1e-5, nan_ok=True)


def test_each_model_answers_as_this_process_does(client: Client, service: Service) -> None:
    assert len(check_server(client, service)) == 5


def test_pairs_by_id_by_upload_and_mixed(client: Client, service: Service, world: Any) -> None:
    a, b, c = world.both()[:3]
    sides = [
        Product(a),
        world.content(b),
        Product(title="red mug"),
        Product(picture=world.content(c).picture),
    ]
    pairs = [(left, right) for left in sides for right in sides]
    for profile in ("same_item", "similar_item"):
        for there, here in zip(
            client.similarity(pairs, profile), service.similarity(pairs, profile), strict=True
        ):
            assert asdict(there) == pytest.approx(asdict(here), abs=1e-5, nan_ok=True)


def test_searches_by_text_picture_and_id(client: Client, service: Service, world: Any) -> None:
    picture = Product(picture=world.content(world.both()[0]).picture)
    for query, text in (
        (Product(title="red mug"), True),
        (picture, False),
        (Product(world.both()[1]), False),
    ):
        for category in (None, "Home"):
            there, here = (s.search(query, 5, "selection", category, as_text=text) for s in (client, service))
            assert there.product_ids == here.product_ids
            np.testing.assert_allclose(there.scores, here.scores, atol=1e-5)
            np.testing.assert_allclose(there.image_scores, here.image_scores, atol=1e-5)


def test_listings_of_one_item_score_above_unlike_ones(client: Client, world: Any) -> None:
    """By id and by upload; the encoder is a child of 40 steps, so on average only."""
    truth = pq.read_table(world.folder / "catalogue" / "truth.parquet").to_pylist()
    item = {row["product_id"]: row["item_id"] for row in truth}
    kind = {row["product_id"]: row["type"] for row in truth}
    ids = world.both()
    same = [(a, b) for a in ids for b in ids if a < b and item[a] == item[b]][:30]
    other = [(a, b) for a in ids for b in ids if a < b and kind[a] != kind[b]][:30]
    for product in (Product, world.content):
        high, low = (
            np.mean(
                [
                    one.score
                    for one in client.similarity([(product(a), product(b)) for a, b in pairs], "same_item")
                ]
            )
            for pairs in (same, other)
        )
        assert high > low + 0.2, (high, low)


REFUSED = {
    "unknown_id": (Product("D-none"), "same_item"),
    "ambiguous": (Product("D000001", title="red mug"), "same_item"),
    "empty": (Product(), "same_item"),
    "bad_image": (Product(picture=b"<html>"), "same_item"),
    "too_large": (Product(title="x" * 2_000_000), "same_item"),
    "not_comparable": (Product(title="red mug"), "selection"),
    "unknown_profile": (Product("D000001"), "looks"),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_at_fault_is_refused_with_the_same_words(
    client: Client, service: Service, world: Any, code: str
) -> None:
    product, profile = REFUSED[code]
    told = []
    for asked in (client, service):
        with pytest.raises(Refused) as refused:
            asked.similarity([(product, Product(world.both()[0]))], profile)  # type: ignore[attr-defined]
        assert refused.value.code == code
        told.append(str(refused.value))
    assert told[0] == told[1]


def test_one_at_fault_in_a_batch_fails_alone(started: Any, service: Service) -> None:
    """Sent at once, so that Triton puts them into one batch."""
    titles = [f"red mug {i}" if i % 7 else "" for i in range(56)]

    def ask(title: str) -> Any:
        with Client(started.server.address) as client:
            try:
                return client.titles([title])[0]
            except Refused as refused:
                return refused.code

    with ThreadPoolExecutor(16) as pool:
        for title, found in zip(titles, pool.map(ask, titles), strict=True):
            if title:
                np.testing.assert_allclose(found, service.encoding.titles([title])[0], atol=1e-5)
            else:
                assert found == "empty"


def test_malformed_requests_leave_the_server_alive(client: Client, started: Any) -> None:
    address = f"http://{started.server.address}/v2/models/text_encoder/infer"
    good = {"name": "TITLE", "datatype": "BYTES", "shape": [1, 1], "data": ["red mug"]}
    for change in ({"name": "T"}, {"datatype": "FP32", "data": [1.0]}, {"shape": [2, 1]}, {"shape": [1, 2]}):
        assert httpx.post(address, json={"inputs": [good | change]}).status_code == 400
    assert httpx.post(address, json={"inputs": [good] * 2}).status_code == 400
    for body in (b"", b"{", b"[]", b"\xff" * 1000):
        assert httpx.post(address, content=body).is_error
    with pytest.raises(Refused, match=r"bad_request: .*batch-size must be <= 64"):
        client.titles(["red mug"] * 65)
    assert httpx.post(address, json={"inputs": [good]}).is_success


def test_what_rules_the_server_is_closed(started: Any) -> None:
    for path in ("repository/index", "repository/models/text_encoder/unload"):
        assert httpx.post(f"http://{started.server.address}/v2/{path}", json={}).status_code == 403
    for path in ("systemsharedmemory/status", "logging", "trace/setting"):
        assert httpx.get(f"http://{started.server.address}/v2/{path}").status_code == 403


def test_what_is_served_is_not_pruned(started: Any, world: Any) -> None:
    with (world.release.path / "manifest.json").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_second_server_is_refused(started: Any, world: Any) -> None:
    with pytest.raises(StateError, match="a server runs already"):
        launch(world.lake, started.config, world.release)
    assert read_server(world.lake) == started.server


def test_another_process_of_the_same_id_is_not_taken_for_it(started: Any) -> None:
    assert started.server.alive
    assert not type(started.server)(**{**asdict(started.server), "born": "1"}).alive


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
def config(started: Any, another_port: int) -> Config:
    """Of a second server, on another port."""
    section = started.config.serving.model_copy(update={"port": another_port})
    return started.config.model_copy(update={"serving": section})  # type: ignore[no-any-return]


def test_a_model_that_is_ready_but_answers_nothing_is_caught(
    world: Any, config: Config, service: Service, tmp_path: Path
) -> None:
    """Every model is READY, one gives empty outputs."""
    shutil.copytree(config.serving.models, tmp_path / "models")
    (tmp_path / "models" / "text_encoder" / "1" / "model.py").write_text(EMPTY)
    section = config.serving.model_copy(update={"models": tmp_path / "models"})
    lake = Lake(tmp_path / "lake")
    server = launch(lake, config.model_copy(update={"serving": section}), world.release)
    try:
        with Client(server.address) as client:
            assert client.ready()
            with pytest.raises(StateError, match="text_encoder answers with shape"):
                check_server(client, service)
    finally:
        stop(lake)
    assert not server.alive and not _processes_of(tmp_path)


def test_a_model_whose_process_died_is_noticed(
    world: Any, config: Config, service: Service, tmp_path: Path
) -> None:
    """Triton goes on saying READY, and starts no other process."""
    lake = Lake(tmp_path)
    server = launch(lake, config, world.release)
    try:
        os.kill(_model_process(server.pid, "text_encoder"), signal.SIGKILL)
        with Client(server.address) as client:
            with pytest.raises(StateError, match=r"\[500\]"):
                check_server(client, service)
            assert client.ready()
            assert len(client.pictures([world.content(world.both()[0]).picture])) == 1
    finally:
        stop(lake)


def test_a_release_that_does_not_fit_stops_the_start(world: Any, config: Config, tmp_path: Path) -> None:
    shutil.copytree(world.release.path, tmp_path / "bad")
    content = json.loads((tmp_path / "bad" / "release.json").read_text())
    (tmp_path / "bad" / "release.json").write_text(json.dumps(content | {"encoder": "0" * 64}))
    lake = Lake(tmp_path / "lake")
    with pytest.raises(StateError, match=f"of encoder {world.release.encoder}, the release of {'0' * 64}"):
        launch(lake, config, Release.read(tmp_path / "bad"))
    assert read_server(lake) is None


def test_killed_it_is_gone_and_starts_anew(world: Any, config: Config, tmp_path: Path) -> None:
    """Its models' processes too: none is left to hold memory or the port."""
    lake = Lake(tmp_path / "lake")
    shutil.copytree(config.serving.models, tmp_path / "models")
    section = config.serving.model_copy(update={"models": tmp_path / "models"})
    config = config.model_copy(update={"serving": section})
    os.kill(launch(lake, config, world.release).pid, signal.SIGKILL)
    time.sleep(1)
    assert read_server(lake) is None
    try:
        launch(lake, config, world.release)
    finally:
        stop(lake)
    assert not _processes_of(tmp_path)


def test_without_an_environment_it_says_what_to_do(world: Any, tmp_path: Path) -> None:
    section = world.config.serving.model_copy(update={"environment": tmp_path})
    with pytest.raises(StateError, match="run `make triton`"):
        launch(Lake(tmp_path), world.config.model_copy(update={"serving": section}), world.release)


def _model_process(server: int, model: str) -> int:
    """The process of a model of a server, which is in its group."""
    found = (
        int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if f"/{model}/" in _text(path)
    )
    return next(pid for pid in found if pid != server and os.getpgid(pid) == server)


def _processes_of(folder: Path) -> list[str]:
    """Commands of processes that name a folder."""
    return [told for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in (told := _text(path))]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
