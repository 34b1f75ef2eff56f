"""A gateway with a stand-in where Triton would be, and sockets to talk to it as no client would."""

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from mmprod.serving.gateway.backend import Backend
from mmprod.serving.gateway.proxy import serving
from mmprod.serving.gateway.settings import Settings

INFER = "/v2/models/text_encoder/infer"
GOOD = {"inputs": [{"name": "TITLE", "datatype": "BYTES", "shape": [1, 1], "data": ["red mug"]}]}
BODY = json.dumps(GOOD).encode()
ANSWER = b'{"outputs": [{"name": "VECTOR", "data": [1.0]}]}'
MOST, SECONDS = 200_000, 0.5


class StandIn:
    """Where Triton would be: notes what comes, and answers what it is told."""

    def __init__(self) -> None:
        self.address = ""
        self.told()

    def told(self, status: int = 200, body: bytes = ANSWER, after: float = 0, **headers: str) -> None:
        """What to answer from now on."""
        self.status, self.body, self.after, self.headers = status, body, after, headers
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.broken = False

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path, await request.read(), dict(request.headers)))
        await asyncio.sleep(self.after)
        if self.broken:
            assert request.transport is not None
            request.transport.abort()
        headers = {name.replace("_", "-"): value for name, value in self.headers.items()}
        return web.Response(status=self.status, body=self.body, headers=headers)


class Source:
    """The supervisor's side."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(restarts=2, reloads_switched=3)
        self.current: Backend | None = None
        self.ready = True
        self.probes = 0

    def probe_soon(self) -> None:
        self.probes += 1


class Stand:
    """A gateway in front of a stand-in, both in a thread of this process."""

    path, request, answer = INFER, BODY, ANSWER

    def __init__(self, folder: Path) -> None:
        self.triton, self.source = StandIn(), Source()
        self.settings = _settings(folder)
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._started.wait(10)

    async def _run(self) -> None:
        runner = web.ServerRunner(web.Server(self.triton.answer, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.triton.address = "{}:{}".format(*runner.addresses[0])
        self.reset()
        async with serving(self.settings, self.source):
            self._started.set()
            await self._done.wait()
        await runner.cleanup()

    def reset(self) -> None:
        """As at the start."""
        self.triton.told()
        self.source.current = Backend("g000007", self.triton.address, self.triton.address)
        self.source.ready, self.source.probes = True, 0

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)
        self._loop.close()

    def post(self, content: Any = BODY, path: str = INFER, **headers: str) -> httpx.Response:
        """Ask a model."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(self.url + path, content=content, headers=names, timeout=20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of the request log."""
        lines = (self.settings.folder / "requests.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.settings.port), timeout=10)

    def exchange(self, *pieces: bytes, answers: int = 1) -> list[tuple[int, bytes]]:
        """Send pieces as they are; the status and body of each answer."""
        with closing(self.connect()) as line:
            for piece in pieces:
                line.sendall(piece)
            return self.received(line, answers)

    def lives(self) -> None:
        """A request is answered."""
        self.reset()
        answer = self.post()
        assert (answer.status_code, answer.content) == (200, ANSWER)

    @staticmethod
    def received(line: socket.socket, most: int = 1) -> list[tuple[int, bytes]]:
        """Status and body of the answers that come, until there are enough or the connection is closed."""
        data, found = b"", list[tuple[int, bytes]]()
        while len(found) < most:
            head, end, rest = data.partition(b"\r\n\r\n")
            size = _length(head)
            if end and len(rest) >= size:
                found.append((int(head[9:12]), rest[:size]))
                data = rest[size:]
            elif more := line.recv(65536):
                data += more
            else:
                break
        return found

    @staticmethod
    def head(*rows: str, path: str = INFER, method: str = "POST") -> bytes:
        """The start of a request."""
        return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *rows, "", ""]).encode("latin-1")

    @staticmethod
    def whole(body: bytes = BODY, *rows: str) -> bytes:
        """A request."""
        return Stand.head(f"Content-Length: {len(body)}", *rows) + body

    @staticmethod
    def error(answer: httpx.Response) -> tuple[int, str]:
        """Status and code of an answer that tells of an error."""
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status_code, answer.json()["error"].partition(": ")[0]

    @staticmethod
    def free() -> int:
        """A port that is free."""
        with closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            return port

    @staticmethod
    def until(holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + 5
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.005)


def _length(head: bytes) -> int:
    rows = (row for row in head.split(b"\r\n") if row.startswith(b"Content-Length:"))
    return next((int(row[15:]) for row in rows), 0)


def _settings(folder: Path) -> Settings:
    nowhere = dict.fromkeys(("release", "triton", "backends", "models", "site"), folder)
    ports = {"port": Stand.free(), "metrics_port": Stand.free()}
    bounds = {"body_bytes": MOST, "body_seconds": SECONDS, "deadline": SECONDS, "requests": 4}
    rest = {"libraries": "", "host": "127.0.0.1", "threads": 1, "config_name": ""}
    last = {"shared_memory": True, "start_seconds": 1.0, "probe_seconds": 1.0, "log_share": 1.0}
    return Settings(folder=folder, **nowhere, **ports, **bounds, **rest, **last)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    stand = Stand(tmp_path_factory.mktemp("gateway"))
    yield stand
    stand.close()


@pytest.fixture
def stand(running: Stand) -> Iterator[Stand]:
    """A gateway that is as at the start; after each test the next request is answered."""
    running.reset()
    yield running
    running.lives()
