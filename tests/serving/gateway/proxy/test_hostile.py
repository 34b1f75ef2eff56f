"""Clients of every kind: each gets its 4xx or 503, and the next is answered."""

import gzip
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

MOST, SECONDS = 200_000, 0.5


def test_what_cannot_be_read_is_refused_before_triton_sees_it(stand: Any) -> None:
    for body in (b"", b"{", b"[" * 150_000, b"\xff" * 9, b'{"inputs": [NaN]}'):
        assert stand.error(stand.post(body)) == (400, "bad_request")
    for length in ("-1", "99999999999999999999", "x", "1e3", ""):
        assert stand.error(stand.post(Inference_Header_Content_Length=length)) == (400, "bad_request")
    length = f"Inference-Header-Content-Length: {len(stand.request)}"
    assert stand.exchange(stand.whole(stand.request, length, length))[0][0] == 400
    assert not stand.triton.asked


def test_compressed_bodies_are_refused(stand: Any) -> None:
    for kind in ("gzip", "deflate", "br", "x"):
        assert stand.error(stand.post(gzip.compress(stand.request), Content_Encoding=kind)) == (
            415,
            "bad_request",
        )
    assert stand.post(Content_Encoding="identity").status_code == 200


def test_bodies_over_the_limit_are_refused_unread(stand: Any) -> None:
    assert stand.error(stand.post(b" " * (MOST + 1))) == (413, "too_large")
    assert stand.exchange(stand.head("Content-Length: 99999999999"))[0][0] == 413
    pieces = (b" " * 10_000 for _ in range(MOST // 10_000 + 1))
    assert stand.error(stand.post(pieces)) == (413, "too_large")
    assert stand.post(stand.request + b" " * (MOST - len(stand.request))).status_code == 200


def test_large_bodies_together_are_bounded(stand: Any) -> None:
    """Eight of the largest are held, the ninth is refused; then there is room again."""
    stand.triton.told(after=0.2)
    stalled = [stand.connect() for _ in range(8)]
    for line in stalled:
        line.sendall(stand.head(f"Content-Length: {MOST}") + b" " * (MOST - 1))
    time.sleep(0.1)
    assert stand.error(stand.post(b" " * 1000)) == (503, "overloaded")
    for line in stalled:
        assert stand.received(line)[0][0] == 408
        line.close()


def test_slow_bodies_and_slow_headers_are_cut_off(stand: Any) -> None:
    begin = time.monotonic()
    assert stand.exchange(stand.head("Content-Length: 500") + b"{")[0][0] == 408
    assert stand.exchange(stand.head("Transfer-Encoding: chunked"), b"1\r\n{\r\n")[0][0] == 408
    with closing(stand.connect()) as line:
        line.sendall(b"POST /v2 HTTP/1.1\r\nX-Slow: ")
        assert stand.received(line) == []
    assert time.monotonic() - begin < 10 * SECONDS


def test_many_slow_clients_keep_nobody_out(stand: Any) -> None:
    slow = [stand.connect() for _ in range(100)]
    for row, line in enumerate(slow):
        line.sendall(stand.head("Content-Length: 500") + b"{" if row % 2 else b"POST /v2 HT")
    assert stand.post().status_code == 200
    for line in slow:
        line.close()


def test_clients_that_leave_midway_are_forgotten(stand: Any) -> None:
    stand.triton.told(after=0.1)
    for data in (
        b"POST",
        stand.head("Content-Length: 500"),
        stand.head("Content-Length: 500") + b"{",
        stand.whole(),
    ):
        line = stand.connect()
        line.sendall(data)
        line.close()
    stand.triton.told()
    assert stand.post().status_code == 200
    time.sleep(0.3)
    backend = stand.source.current
    assert backend and backend.in_flight == 0 and not stand.source.probes


def test_a_client_that_takes_no_answers_is_cut_off(stand: Any) -> None:
    stand.triton.told(body=b"x" * 20_000_000)
    with closing(stand.connect()) as line:
        line.sendall(stand.whole())
        time.sleep(3 * SECONDS)
        assert sum(map(len, iter(lambda: line.recv(2**20), b""))) < 20_000_000
    assert stand.log[-1]["status"] == 499


def test_requests_one_after_the_other_without_waiting(stand: Any) -> None:
    found = stand.exchange(stand.whole() * 3 + stand.whole(b"{") + stand.whole(), answers=5)
    assert [status for status, _ in found] == [200, 200, 200, 400, 200]


HEAD = b"POST /v2 HTTP/1.1\r\nHost: x\r\n"
BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01",
    "an unknown version": b"GET / HTTP/9.7\r\n\r\n",
    "a huge header": HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    "a huge path": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "very many headers": HEAD + b"X: y\r\n" * 5000 + b"\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length that is none": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length and chunks": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a broken chunk": HEAD.replace(b"/v2", b"/v2/models/text_encoder/infer")
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "NUL in a header": HEAD + b"X: a\0b\r\n\r\n",
    "a folded header": HEAD + b"X: a\r\n b\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_http_is_refused(stand: Any, name: str) -> None:
    ((status, body),) = stand.exchange(BROKEN[name])
    assert (status, json.loads(body)["error"][:13]) == (400, "bad_request: ")
    assert not stand.triton.asked


def test_more_than_fit_are_refused_at_once(stand: Any) -> None:
    stand.triton.told(after=0.4)
    with ThreadPoolExecutor(12) as pool, httpx.Client(limits=httpx.Limits(max_connections=12)) as client:
        client.get(stand.url)  # what a first request takes longer is done
        address = f"{stand.url}/v2/models/text_encoder/infer"
        answers = list(pool.map(lambda _: client.post(address, content=stand.request), range(12)))
    found = Counter(answer.status_code for answer in answers)
    assert found == {200: 4, 503: 8}
    for answer in answers:
        if answer.status_code == 503:
            assert stand.error(answer) == (503, "overloaded") and answer.elapsed.total_seconds() < 0.3
