"""The models in the real server: what they take, what they count, what they keep."""

import base64
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from mmprod.config import Config, load
from mmprod.serving.client import Client
from mmprod.serving.service import Service
from mmprod.serving.types import Product
from mmprod.stages.online.server import Server, start, stop

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Quiet:
    """A server that nobody else asks, so that what is counted is known."""

    server: Server
    config: Config


@pytest.fixture(scope="module")
def started(world: Any, environment: Path) -> Iterator[Quiet]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    keys = {"serving.port": port, "serving.probe_seconds": 3600}
    config = load(world.folder / "mmprod.toml", keys).config
    try:
        yield Quiet(start(world.lake, config, world.release), config)
    finally:
        stop(world.lake)


def tensor(name: str, *values: str | int, kind: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "datatype": kind, "shape": [len(values), 1], "data": list(values)}


def ask(started: Any, model: str, *inputs: dict[str, Any], **parameters: Any) -> httpx.Response:
    url = f"http://{started.server.address}/v2/models/{model}/infer"
    return httpx.post(url, json={"inputs": inputs, "parameters": parameters}, timeout=20)


def counted(started: Any, name: str, **labels: str) -> float:
    """The value of a counter, 0 before it is first added to."""
    text = httpx.get(f"http://127.0.0.1:{started.config.serving.port + 2}/metrics").text
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
    return sum(float(line.split()[-1]) for line in lines if all(one in line for one in wanted))


def test_a_picture_may_be_a_data_url(started: Any, service: Service, world: Any) -> None:
    picture = world.content(world.both()[0]).picture
    url = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    found = ask(started, "image_encoder", tensor("PICTURE", url)).json()["outputs"][0]["data"]
    np.testing.assert_allclose(found, service.encoding.pictures([picture])[0], atol=1e-5)
    broken = ask(started, "pair_similarity", *pair(tensor("A_PICTURE", url[:-3]), world))
    assert broken.status_code == 400 and broken.json()["error"].startswith("bad_image: ")


def test_what_was_refused_is_refused_again(started: Any) -> None:
    """Triton's own response cache answers the second one as a success without outputs."""
    for _ in range(3):
        answer = ask(started, "text_encoder", tensor("TITLE", "\u200b"))
        assert answer.status_code == 400 and "empty: " in answer.json()["error"]


def test_a_title_is_encoded_once(started: Any, client: Client, service: Service, world: Any) -> None:
    """Whichever model it comes through, and whatever else is in its batch."""
    labels = {"model": "text_encoder"}
    towers, kept = (counted(started, "mmprod_vectors_total", source=s, **labels) for s in ("tower", "cache"))
    known, title = Product(world.both()[0]), Product(title="a teal kettle")
    first = client.similarity([(known, title)], "same_item")
    again = client.similarity([(title, known), (known, Product(title="a teal lamp"))], "same_item")
    client.search(title, 1, "same_item", as_text=True)
    assert again[0].score == pytest.approx(first[0].score, abs=1e-6)
    assert counted(started, "mmprod_vectors_total", source="tower", **labels) == towers + 2
    assert counted(started, "mmprod_vectors_total", source="cache", **labels) == kept + 2


def test_products_verdicts_and_refusals_are_counted(started: Any, client: Client, world: Any) -> None:
    wanted = {
        ("mmprod_products_total", "model", "pair_similarity", "source", "index"): 3,
        ("mmprod_products_total", "model", "pair_similarity", "source", "encoded"): 1,
        ("mmprod_verdicts_total", "profile", "same_item", "verdict", "same"): 1,
        ("mmprod_verdicts_total", "profile", "same_item", "verdict", "different"): 1,
        ("mmprod_refused_total", "model", "pair_similarity", "code", "unknown_id"): 1,
    }
    series = {key: dict(zip(key[1::2], key[2::2], strict=True)) for key in wanted}
    before = {key: counted(started, key[0], **labels) for key, labels in series.items()}
    known = Product(world.both()[0])
    client.similarity([(known, known), (known, Product(title="green sofa"))], "same_item")
    ask(started, "pair_similarity", *pair(tensor("A_ID", "nobody"), world))
    more = {key: counted(started, key[0], **labels) - before[key] for key, labels in series.items()}
    assert more == wanted


def test_more_pictures_and_titles_than_an_encoder_takes_at_once(
    client: Client, service: Service, world: Any
) -> None:
    """64 pairs of uploads are 128 titles."""
    pairs = [(Product(title=f"mug {row}"), Product(title=f"lamp {row}")) for row in range(64)]
    there, here = (one.similarity(pairs, "same_item") for one in (client, service))
    np.testing.assert_allclose([one.score for one in there], [one.score for one in here], atol=1e-5)


def pair(one: dict[str, Any], world: Any) -> list[dict[str, Any]]:
    return [one, tensor("B_ID", world.both()[0]), tensor("PROFILE", "same_item")]
