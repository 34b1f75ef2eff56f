"""The real service: it answers as this process does, and refuses alone what is at fault."""

import fcntl
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from mmprod.serving.canaries import read_canaries
from mmprod.serving.client import Client
from mmprod.serving.errors import Refused
from mmprod.serving.probe import probe
from mmprod.serving.repository import MODELS
from mmprod.serving.service import Service
from mmprod.serving.types import Product

pytestmark = pytest.mark.slow
_IN_THE_SERVERS = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from mmprod.serving.types import Product
from mmprod.serving.release import Release
from mmprod.serving.service import Service
import numpy

service = Service.open(Release.read(Path(sys.argv[1])), threads=1)
pairs = [(Product(a), Product(title=b)) for a, b in json.loads(sys.argv[2])]
found = [asdict(one) for one in service.similarity(pairs, "same_item")]
print(json.dumps({"found": found, "numpy": numpy.__version__, "torch": "torch" in sys.modules}))
"""


def test_the_service_is_the_same_in_the_servers_environment(
    service: Service, world: Any, environment: Any
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


def test_each_model_answers_as_its_release_should(started: Any, world: Any) -> None:
    models = probe(started.server.address, read_canaries(world.release.path))
    assert set(models) == {model.name for model in MODELS}


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


def test_what_rules_the_server_is_not_there(started: Any) -> None:
    for path in ("repository/index", "repository/models/text_encoder/unload"):
        assert httpx.post(f"http://{started.server.address}/v2/{path}", json={}).status_code == 404
    for path in ("systemsharedmemory/status", "logging", "trace/setting"):
        assert httpx.get(f"http://{started.server.address}/v2/{path}").status_code == 404


def test_what_is_served_is_not_pruned(started: Any, world: Any) -> None:
    with (world.release.path / "manifest.json").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
