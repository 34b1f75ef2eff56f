"""Both clients against a loopback server that does what it is told: retries, deadlines, parts, errors."""

import asyncio
import json
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pytest

from mmprod.serving.client import AsyncClient, Client
from mmprod.serving.errors import Refused
from mmprod.storage.errors import StateError

Reply = Callable[[BinaryIO, list[bytes]], bool]
"""Writes an answer to a request for the vectors of titles; whether the connection stays open."""


def http(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    said = (f"HTTP/1.1 {status} Told", f"Content-Length: {len(body) if length is None else length}", *headers)
    return "\r\n".join((*said, "", "")).encode() + body


def vectors(titles: list[bytes], **changes: Any) -> bytes:
    """The right answer: of each title a vector of its length and its first byte."""
    data = b"".join(struct.pack("<ff", len(title), (title or b"\0")[0]) for title in titles)
    output = {"name": "VECTOR", "datatype": "FP32", "shape": [len(titles), 2]}
    head = json.dumps({"outputs": [{**output, "parameters": {"binary_data_size": len(data)}, **changes}]})
    return http(200, head.encode() + data, f"Inference-Header-Content-Length: {len(head)}")


def right(out: BinaryIO, titles: list[bytes]) -> bool:
    out.write(vectors(titles))
    return True


def closes(out: BinaryIO, titles: list[bytes]) -> bool:
    return False


def half(out: BinaryIO, titles: list[bytes]) -> bool:
    out.write(vectors(titles)[:-3])
    return False


def says(status: int, error: str, *headers: str) -> Reply:
    def reply(out: BinaryIO, titles: list[bytes]) -> bool:
        out.write(http(status, json.dumps({"error": error}).encode(), *headers))
        return True

    return reply


def late(seconds: float) -> Reply:
    def reply(out: BinaryIO, titles: list[bytes]) -> bool:
        time.sleep(seconds)
        return right(out, titles)

    return reply


def drips(out: BinaryIO, titles: list[bytes]) -> bool:
    """An answer that comes a byte at a time, and would take minutes."""
    for byte in http(200, b" " * 10_000):
        out.write(bytes([byte]))
        out.flush()
        time.sleep(0.01 if byte == ord(" ") else 0)
    return False


class Told(socketserver.ThreadingTCPServer):
    """Replies in turn, the last one for ever; keeps what it was asked, and how many asked at once."""

    daemon_threads, block_on_close = True, False
    request_queue_size = 64

    def __init__(self, *replies: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.replies = [*replies]
        self.asked: list[list[bytes]] = []
        self.timeouts: list[int] = []
        self.at_once = self.most = 0
        self.lock = threading.Lock()

    def begin(self, head: Any, titles: list[bytes]) -> Reply:
        with self.lock:
            self.asked.append(titles)
            self.timeouts.append(head["parameters"]["timeout"])
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def end(self) -> None:
        with self.lock:
            self.at_once -= 1


class Connection(socketserver.StreamRequestHandler):
    server: Told

    def handle(self) -> None:
        try:
            while self.one():
                pass
        except OSError:  # the client has gone
            pass

    def one(self) -> bool:
        if not self.rfile.readline():
            return False
        lines = iter(self.rfile.readline, b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        body = self.rfile.read(int(headers[b"content-length"]))
        start = int(headers[b"inference-header-content-length"])
        reply = self.server.begin(json.loads(body[:start]), strings(body[start:]))
        try:
            return reply(self.wfile, self.server.asked[-1])
        finally:
            self.server.end()


def strings(data: bytes) -> list[bytes]:
    found = []
    while data:
        (length,) = struct.unpack("<I", data[:4])
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


@contextmanager
def served(*replies: Reply) -> Iterator[Told]:
    with Told(*replies) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def by_threads(address: str, titles: Sequence[str], **options: Any) -> np.ndarray:
    with Client(address, **options) as client:
        return client.titles(titles)


def by_loop(address: str, titles: Sequence[str], **options: Any) -> np.ndarray:
    async def ask() -> np.ndarray:
        async with AsyncClient(address, **options) as client:
            return await client.titles(titles)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [by_threads, by_loop])
BUSY = says(503, "overloaded: come again")


@both
def test_what_may_pass_is_tried_again(ask: Any) -> None:
    told = (says(429, "slow down"), BUSY, says(502, "bad gateway"), closes, half, right)
    with served(*told) as server:
        assert ask(server.address, ["mug"]).tolist() == [[3, ord("m")]]
        assert server.asked == [[b"mug"]] * 6


@both
def test_it_comes_back_when_it_is_told_to(ask: Any) -> None:
    with served(says(503, "reloading", "Retry-After: 1"), right) as server:
        started = time.monotonic()
        ask(server.address, ["mug"])
        assert 1 <= time.monotonic() - started < 2


@both
@pytest.mark.parametrize("after", ["-5", "1e9", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "²"])
def test_nonsense_as_retry_after_counts_nothing(ask: Any, after: str) -> None:
    line = f"Retry-After: {after}".encode().decode("latin-1")
    with served(says(503, "busy", line), right) as server:
        assert len(ask(server.address, ["mug"], deadline=2)) == 1


@both
def test_it_gives_up_at_once_when_told_to_come_after_the_deadline(ask: Any) -> None:
    with served(says(503, "overloaded: come again", "Retry-After: 60")) as server:
        started = time.monotonic()
        with pytest.raises(StateError, match=f"{server.address} answers 503: overloaded"):
            ask(server.address, ["mug"])
        assert time.monotonic() - started < 0.5 and len(server.asked) == 1


@both
@pytest.mark.parametrize("reply", [BUSY, late(5), drips, closes], ids=["busy", "late", "drips", "closes"])
def test_nothing_takes_longer_than_the_deadline(ask: Any, reply: Reply) -> None:
    with served(reply) as server:
        started = time.monotonic()
        with pytest.raises(StateError):
            ask(server.address, ["mug"], deadline=0.6)
        assert time.monotonic() - started < 1.2


@both
def test_the_deadline_is_of_all_parts_together(ask: Any) -> None:
    with served(late(0.3)) as server:
        with pytest.raises(StateError):
            ask(server.address, ["mug"] * 40, deadline=0.5, batch=2)
        assert len(server.asked) < 12


@both
def test_the_server_is_told_how_long_the_call_may_last(ask: Any) -> None:
    with served(BUSY, BUSY, right) as server:
        ask(server.address, ["mug"], deadline=5)
        assert 5_000_000 >= server.timeouts[0] > server.timeouts[1] > server.timeouts[2] > 4_000_000


@both
def test_no_server_is_named_with_what_to_do(ask: Any) -> None:
    with served(right) as server:
        address = server.address
    with pytest.raises(StateError, match=f"no answer from {address}.* `mmprod triton status`"):
        ask(address, ["mug"], deadline=0.3)


@both
@pytest.mark.parametrize(("reply", "code", "message"), [
    (says(400, "unknown_id: product 'D' is not there"), "unknown_id", "product 'D' is not there"),
    (says(400, "[request id: 5] bad_text: not\nUTF-8"), "bad_text", "not\nUTF-8"),
    (says(413, "too_large: 9 bytes"), "too_large", "9 bytes"),
    (says(400, "batch-size must be <= 64"), "bad_request", "batch-size must be <= 64"),
    (says(415, "no gzip"), "bad_request", "no gzip"),
])  # fmt: skip
def test_refusals_keep_their_code(ask: Any, reply: Reply, code: str, message: str) -> None:
    with served(reply) as server:
        with pytest.raises(Refused) as refused:
            ask(server.address, ["mug"])
        assert refused.value.code == code and str(refused.value) == f"{code}: {message}"
        assert len(server.asked) == 1


def writes(data: Callable[[list[bytes]], bytes]) -> Reply:
    def reply(out: BinaryIO, titles: list[bytes]) -> bool:
        out.write(data(titles))
        return True

    return reply


@both
@pytest.mark.parametrize("reply", [
    says(500, "unknown_id: a failure that quotes a code is a failure"),
    says(504, "deadline"),
    says(404, "Request for unknown model"),
    says(302, "elsewhere", "Location: /v2"),
    writes(lambda titles: http(500, b"\xff" * 1000)),
    writes(lambda titles: http(200, b"<html>")),
    writes(lambda titles: http(200, b"")),
    writes(lambda titles: vectors(titles, parameters={"binary_data_size": 0})),
    writes(lambda titles: vectors(titles, name="OTHER")),
    writes(lambda titles: vectors(titles * 2)),
])  # fmt: skip
def test_a_failure_is_told_at_once(ask: Any, reply: Reply) -> None:
    """Also outputs of no bytes, as Triton sends them with an unfit numpy."""
    with served(reply) as server:
        with pytest.raises(StateError, match=server.address):
            ask(server.address, ["mug"])
        assert len(server.asked) == 1


@both
def test_what_is_long_goes_in_parts_and_comes_back_in_order(ask: Any) -> None:
    titles = ["x" * length for length in range(150)]
    with served(late(0.02), right) as server:  # the first part comes back last
        assert ask(server.address, titles)[:, 0].tolist() == [*range(150)]
        assert sorted(map(len, server.asked)) == [22, 64, 64]


def test_parts_are_sent_some_at_once_by_the_loop() -> None:
    with served(late(0.05)) as server:
        found = by_loop(server.address, [f"{i}" for i in range(24)], batch=2, concurrency=3)
        assert len(found) == 24 and server.most == 3


def test_a_failing_part_ends_the_others() -> None:
    with served(says(400, "empty: nothing"), late(0.2)) as server:
        with pytest.raises(Refused, match="empty: nothing"):
            by_loop(server.address, ["mug"] * 40, batch=2, concurrency=2)
        assert len(server.asked) <= 3


def test_one_client_serves_many_threads() -> None:
    with served(right) as server, Client(server.address) as client, ThreadPoolExecutor(16) as pool:
        lengths = [*range(1, 200)]
        found = pool.map(lambda length: client.titles(["x" * length])[0, 0], lengths)
        assert list(found) == lengths


def test_one_client_serves_many_tasks() -> None:
    async def ask(address: str) -> list[float]:
        async with AsyncClient(address) as client:
            found = await asyncio.gather(*(client.titles(["x" * length]) for length in range(1, 100)))
            return [one[0, 0] for one in found]

    with served(right) as server:
        assert asyncio.run(ask(server.address)) == [*range(1, 100)]


def test_a_task_can_be_cancelled() -> None:
    async def ask(address: str) -> None:
        async with AsyncClient(address) as client:
            await asyncio.wait_for(client.titles(["mug"] * 200), 0.1)

    with served(late(2)) as server, pytest.raises(TimeoutError):
        asyncio.run(ask(server.address))
