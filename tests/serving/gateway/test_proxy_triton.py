"""Through the gateway to the real server: what is right is answered as ever, what is wrong gets its 4xx."""

import json
import random
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow
SEED = 20250


def tensor(name: str, *texts: str, flat: bool = False, **change: Any) -> dict[str, Any]:
    shape = [len(texts)] if flat else [len(texts), 1]
    return {"name": name, "datatype": "BYTES", "shape": shape, "data": list(texts)} | change


def ask(gateway: Any, model: str, content: Any, **headers: str) -> httpx.Response:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{gateway.url}/v2/models/{model}/infer", content=data, headers=named, timeout=30)


@pytest.fixture
def good(gateway: Any) -> Any:
    """A request's answer, which is the same again after the test."""
    before = gateway.infer().json()
    yield before
    after = gateway.infer()
    assert after.status_code == 200 and after.json() == before


def test_every_model_answers_by_json(gateway: Any, good: Any, world: Any) -> None:
    first, second = world.both()[:2]
    pair = [tensor("A_ID", first), tensor("B_TITLE", "red mug"), tensor("PROFILE", "same_item")]
    answer = ask(gateway, "pair_similarity", {"inputs": pair})
    assert answer.status_code == 200 and answer.headers["X-Mmprod-Release"] == world.release.path.name
    found = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    assert found["IMAGE_SCORE"] == [None] and -1 <= found["TEXT_SCORE"][0] <= 1
    k = {"name": "K", "datatype": "INT32", "shape": [1], "data": [3]}
    search = [tensor("ID", second, flat=True), tensor("PROFILE", "selection", flat=True), k]
    found = ask(gateway, "product_search", {"inputs": search}).json()["outputs"][0]
    assert found["name"] == "PRODUCT_ID" and len(found["data"]) == 3
    product = ask(gateway, "product_encoder", {"inputs": [tensor("TITLE", "red mug")]}).json()
    assert len(product["outputs"]) == 3


def test_binary_tensors_both_ways(gateway: Any, good: Any, world: Any) -> None:
    picture = world.content(world.both()[0]).picture
    size = {"binary_data_size": len(picture) + 4}
    inputs = [{"name": "PICTURE", "datatype": "BYTES", "shape": [1, 1], "parameters": size}]
    told = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = told + struct.pack("<I", len(picture)) + picture
    answer = ask(gateway, "image_encoder", body, Inference_Header_Content_Length=str(len(told)))
    assert answer.status_code == 200
    length = int(answer.headers["Inference-Header-Content-Length"])
    outputs = json.loads(answer.content[:length])["outputs"]
    sizes = [output["parameters"]["binary_data_size"] for output in outputs]
    assert length + sum(sizes) == len(answer.content)
    vector = struct.unpack(f"<{sizes[0] // 4}f", answer.content[length : length + sizes[0]])
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)


REFUSED = {
    "empty": {"inputs": [tensor("TITLE", "")]},
    "bad_request: inference request batch-size must be <= 64": {"inputs": [tensor("TITLE", *["x"] * 65)]},
    "bad_request: outputs has 'SCORE'": {"inputs": [tensor("TITLE", "x")], "outputs": [{"name": "SCORE"}]},
    "bad_request: shape": {"inputs": [tensor("TITLE", "x", shape=[2**62, 2**62])]},
    "bad_request: not JSON": b"{",
    "bad_request: JSON nested": b"[" * 100_000,
    "bad_request: timeout": {"inputs": [tensor("TITLE", "x")], "parameters": {"timeout": -1}},
    "too_large: a body": b" " * 1_000_001,
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_is_wrong_is_refused(gateway: Any, good: Any, told: str) -> None:
    answer = ask(gateway, "text_encoder", REFUSED[told])
    assert answer.status_code == (413 if told.startswith("too_large") else 400)
    assert answer.json()["error"].startswith(told)


def test_a_request_whose_time_is_over_gets_504(gateway: Any, good: Any) -> None:
    answer = ask(gateway, "text_encoder", {"inputs": [tensor("TITLE", "x")], "parameters": {"timeout": 1}})
    assert (answer.status_code, answer.json()["error"][:10]) == (504, "deadline: ")


def test_bytes_changed_at_random_get_their_answer_or_a_4xx(gateway: Any, good: Any) -> None:
    """Of a request with a binary tensor: bytes changed, cut, doubled; never a 5xx."""
    chance = random.Random(SEED)
    text = "red mug 灯".encode()
    inputs = [tensor("TITLE", "x", parameters={"binary_data_size": len(text) + 4})]
    del inputs[0]["data"]
    told = json.dumps({"id": "7", "inputs": inputs}).encode()
    whole = told + struct.pack("<I", len(text)) + text

    def changed() -> httpx.Response:
        body = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        if chance.random() < 0.2:
            body = body[: chance.randrange(len(body))] * chance.randint(1, 2)
        length = len(told) + chance.choice([0, 0, 0, 0, 1, -1, 99])
        return ask(gateway, "text_encoder", bytes(body), Inference_Header_Content_Length=str(length))

    found = [changed() for _ in range(400)]
    for answer in found:
        assert answer.status_code in (200, 400), (SEED, answer.text)
        assert answer.status_code == 200 or ": " in answer.json()["error"]
    assert {200, 400} == {answer.status_code for answer in found}


def test_many_at_once_are_answered_or_refused_quickly(gateway: Any, good: Any) -> None:
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda row: gateway.infer(title=f"mug {row}"), range(200)))
    assert {answer.status_code for answer in found} <= {200, 503}
    assert sum(answer.status_code == 200 for answer in found) > 100


def test_one_page_has_the_gateways_numbers_and_tritons(gateway: Any, good: Any) -> None:
    page = httpx.get(f"http://127.0.0.1:{gateway.settings.metrics_port}/metrics").text
    for name in ("mmprod_gateway_requests_total", "process_resident_memory_bytes", "nv_inference_count"):
        assert f"\n{name}{{" in page or f"\n{name} " in page
    types = [line for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types)), "a metric is told of twice"
