"""What the gateway passes on, what it answers itself, and what it counts."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

from mmprod.serving.gateway.backend import Backend

MOST, SECONDS = 200_000, 0.5


def test_a_request_is_passed_on_as_it_is_and_its_answer_back(stand: Any) -> None:
    stand.triton.told(body=b"\x00\xff", Content_Type="application/octet-stream")
    body = stand.request + b"    "
    answer = stand.post(body, X_Request_Id="mine-7", Accept_Encoding="gzip", Authorization="secret")
    assert (answer.status_code, answer.content) == (200, b"\x00\xff")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Request-Id"] == "mine-7"
    assert answer.headers["X-Mmprod-Release"] == "g000007"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    method, path, passed, headers = stand.triton.asked[0]
    assert (method, path, passed) == ("POST", stand.path, body)
    assert set(headers) == {"Host", "Content-Length"}


def test_binary_tensors_keep_their_header(stand: Any) -> None:
    tensor = {"name": "TITLE", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 7}}
    told = json.dumps({"inputs": [tensor]}).encode()
    stand.triton.told(body=b"{}rest", Inference_Header_Content_Length="2")
    answer = stand.post(told + b"\x03\0\0\0mug", Inference_Header_Content_Length=str(len(told)))
    assert (answer.content, answer.headers["Inference-Header-Content-Length"]) == (b"{}rest", "2")
    assert stand.triton.asked[0][3]["Inference-Header-Content-Length"] == str(len(told))


def test_answers_in_json_have_null_for_nan(stand: Any) -> None:
    stand.triton.told(body=b'{"id":"NaN \\" NaN","data":[NaN,1.5,-Infinity,Infinity,-NaN]}')
    assert stand.post().json() == {"id": 'NaN " NaN', "data": [None, 1.5, None, None, None]}
    stand.triton.told(body=b"[NaN]NaN", Inference_Header_Content_Length="5")
    answer = stand.post()
    assert (answer.content, answer.headers["Inference-Header-Content-Length"]) == (b"[null]NaN", "6")


def test_questions_are_passed_on_and_the_rest_is_not_there(stand: Any) -> None:
    model = "/v2/models/text_encoder"
    paths = ["/v2", model, f"{model}/config", f"{model}/stats", f"{model}/versions/1/ready"]
    for path in paths:
        assert httpx.get(stand.url + path).content == stand.answer
    assert [path for _, path, _, _ in stand.triton.asked] == paths
    assert stand.post(path=f"{model}/versions/1/infer").status_code == 200
    for path in (
        "/",
        "/v2/",
        "/metrics",
        "/v2/logging",
        "/v2/repository/index",
        "/v2/models/nothing/infer",
        f"{model}/versions/2/infer",
        f"{model}/trace/setting",
        f"{model}/../text_encoder/infer",
        "/v2/models/text%5Fencoder",
        "//v2",
        "/v2/systemsharedmemory/region/a/b/register",
        "/v2/cudasharedmemory/status",
        "/" + "x" * 5000,
    ):
        raw = stand.exchange(stand.head("Content-Length: 2", path=path) + b"{}")[0]
        assert (raw[0], json.loads(raw[1])["error"][:26]) == (404, "bad_request: there is no /")
    for method, path in (("GET", stand.path), ("POST", "/v2"), ("DELETE", model), ("PUT", stand.path)):
        assert stand.error(httpx.request(method, stand.url + path)) == (405, "bad_request")


def test_health_is_what_the_supervisor_says(stand: Any) -> None:
    ready = f"{stand.url}/v2/health/ready"
    assert httpx.get(ready).status_code == 200
    stand.source.ready = False
    assert stand.error(httpx.get(ready)) == (503, "unavailable")
    assert stand.post().status_code == 200
    stand.source.ready, stand.source.current = True, None
    answer = httpx.get(ready)
    assert stand.error(answer) == (503, "unavailable") and answer.headers["Retry-After"] == "1"
    answer = stand.post()
    assert stand.error(answer) == (503, "unavailable") and answer.headers["Retry-After"] == "1"
    assert httpx.get(f"{stand.url}/v2/health/live").status_code == 200
    assert len(stand.triton.asked) == 1 and not stand.source.probes


TOLD = {  # Triton's own words
    "empty: nothing": (400, 400, "empty"),
    "[request id: 7] inference request batch-size must be <= 64": (400, 400, "bad_request"),
    "Request for unknown model: 'x' is not found": (404, 404, "bad_request"),
    "Stub process 'text_encoder_0' is not healthy.": (500, 503, "unavailable"),
    "Server is not ready": (503, 503, "unavailable"),
    "Failed to process the request(s): Traceback /secret/model.py": (500, 500, "failed"),
}


@pytest.mark.parametrize("message", TOLD)
def test_errors_of_triton_are_told_in_the_services_words(stand: Any, message: str) -> None:
    status, wanted, code = TOLD[message]
    stand.triton.told(status, json.dumps({"error": message}).encode())
    answer = stand.post()
    assert stand.error(answer) == (wanted, code)
    assert ("Retry-After" in answer.headers) == (wanted == 503)
    assert "request id" not in answer.text and "secret" not in answer.text
    assert stand.source.probes == (code in ("unavailable", "failed"))


def test_a_triton_that_breaks_off_hangs_or_is_gone_is_told_of_at_once(stand: Any) -> None:
    stand.triton.broken = True
    assert stand.error(stand.post()) == (503, "unavailable")
    stand.triton.told(after=3)
    begin = time.monotonic()
    assert stand.error(stand.post()) == (504, "deadline")
    assert time.monotonic() - begin < 3 * SECONDS
    stand.source.current = Backend("g000007", f"127.0.0.1:{stand.free()}", "")
    assert stand.error(stand.post()) == (503, "unavailable")
    assert stand.source.probes == 3


def test_a_model_that_has_ended_is_not_waited_for(stand: Any) -> None:
    """Triton would let its requests lie until their deadline."""
    assert stand.source.current is not None
    stand.source.current.lost.append("image_encoder")
    assert stand.post().status_code == 200
    stand.source.current.lost.append("text_encoder")
    assert stand.error(stand.post()) == (503, "unavailable")
    assert len(stand.triton.asked) == 1


def test_bodies_in_chunks_and_asked_for_are_read(stand: Any) -> None:
    assert stand.post(iter([stand.request[:10], stand.request[10:]])).content == stand.answer
    rows = (f"Content-Length: {len(stand.request)}", "Expect: 100-continue")
    with closing(stand.connect()) as line:
        line.sendall(stand.head(*rows))
        assert stand.received(line) == [(100, b"")]
        line.sendall(stand.request)
        assert stand.received(line) == [(200, stand.answer)]
    rows = ("Content-Length: 99999999", "Expect: 100-continue")
    assert stand.exchange(stand.head(*rows))[0][0] == 413
    assert stand.exchange(stand.head("Content-Length: 5", "Expect: cake"))[0][0] == 417


def test_a_request_stays_with_the_server_that_it_began_on(stand: Any) -> None:
    stand.triton.told(after=0.2)
    old = stand.source.current
    assert old is not None
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(stand.post)
        stand.until(lambda: old.in_flight == 1)
        stand.source.current = Backend("g000008", stand.triton.address, "")
        assert asked.result().headers["X-Mmprod-Release"] == "g000007"
    assert old.in_flight == 0
    assert stand.post().headers["X-Mmprod-Release"] == "g000008"


def test_regions_of_shared_memory_are_passed_on(stand: Any) -> None:
    path = "/v2/systemsharedmemory/region/mmprod-7/register"
    assert stand.post(b'{"key": "/mmprod-7", "offset": 0, "byte_size": 64}', path).status_code == 200
    assert stand.triton.asked[0][1] == path
    assert stand.error(httpx.get(stand.url + path)) == (405, "bad_request")


def test_requests_are_counted_and_written_down(stand: Any) -> None:
    stand.post(X_Request_Id="seven")
    stand.until(lambda: stand.log[-1]["id"] == "seven")
    stand.post(b"{", X_Request_Id="a\tb" * 50)
    stand.until(lambda: stand.log[-1]["error"] == "bad_request")  # written once the answer is sent
    last, refused = stand.log[-2:]
    assert last["id"] == "seven" and last["peer"] == "127.0.0.1" and last["model"] == "text_encoder"
    assert (last["status"], last["bytes_in"], last["bytes_out"]) == (
        200,
        len(stand.request),
        len(stand.answer),
    )
    assert last["release"] == "g000007" and 0 < last["milliseconds"] < 1000
    assert (refused["status"], refused["error"], len(refused["id"])) == (400, "bad_request", 16)
    stand.triton.told(body=b"nv_inference_count 5\n")
    page = httpx.get(f"http://127.0.0.1:{stand.settings.metrics_port}/metrics").text
    assert 'mmprod_gateway_requests_total{model="text_encoder",status="200"}' in page
    assert 'mmprod_gateway_seconds_count{model="text_encoder"}' in page
    assert 'mmprod_gateway_reloads_total{outcome="switched"} 3.0' in page
    assert "mmprod_gateway_restarts_total 2.0" in page
    assert 'mmprod_gateway_release_info{release="g000007"} 1.0' in page
    assert page.endswith("nv_inference_count 5\n")
    stand.source.current = None
    page = httpx.get(f"http://127.0.0.1:{stand.settings.metrics_port}/metrics").text
    assert "release_info{" not in page and "nv_inference" not in page
