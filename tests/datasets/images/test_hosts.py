"""Picture hosts that are dead, come back, or are particular about who asks; each is a real server here."""

import contextlib
import datetime
import errno
import gzip
import os
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from mmprod.datasets.images.fetch import USER_AGENT, Fetcher
from mmprod.datasets.images.hosts import Hosts
from mmprod.datasets.images.picture_source import PictureSource
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store.store import Store

PICTURE = b"\xff\xd8\xff picture"
DAY = datetime.date(2025, 3, 1)


def fetcher(**options: Any) -> Fetcher:
    """One that knows no host yet."""
    quick = {"seconds": 2.0, "stall": 0.3, "backoff": 0.02, "allow_private": True, "hosts": Hosts()}
    return Fetcher(**{**quick, **options})


class Shop(BaseHTTPRequestHandler):
    """A feed's picture host: some folders are for programs that say who they are, some are zipped."""

    asked: list[str]
    dead_until = 0.0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(self.path)
        self.asked.append(path)
        if time.monotonic() < self.dead_until:
            self.answer(503, b"")
        elif path.startswith("/needs-agent/") and not self.headers.get("User-Agent"):
            self.answer(403, b"who asks?")
        elif path.startswith("/gzip/"):
            self.answer(200, gzip.compress(PICTURE), Content_Encoding="gzip")
        elif path.startswith("/bomb/"):
            self.answer(200, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
        elif path.startswith("/cut/"):
            self.answer(200, gzip.compress(PICTURE)[:-9], Content_Encoding="gzip")
        elif path.startswith("/moved/"):
            self.send_response(302)
            self.answer_headers(Location="/plain/grün.jpg".encode().decode("latin-1"), Content_Length="0")
        else:
            self.answer(200, PICTURE)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.answer_headers(Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def answer_headers(self, **headers: str) -> None:
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()


@pytest.fixture
def shop() -> Iterator[str]:
    Shop.asked, Shop.dead_until = [], 0.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1024)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_addresses_as_feeds_write_them(shop: str) -> None:
    found = {
        "/needs-agent/red.jpg": PICTURE,
        "/plain/my photo/green.jpg": PICTURE,
        "/plain/yellow.jpg?a=1&amp;b=2&copy=3": PICTURE,
        "/plain/grün/green.jpg": PICTURE,
        "/gzip/blue.jpg": PICTURE,
        "/bomb/blue.jpg": "too_large",
        "/cut/blue.jpg": "compressed",
        "/moved/blue.jpg": PICTURE,
    }
    urls = [f"  {shop}{path} " for path in found]
    slow = fetcher(max_bytes=100_000, seconds=20.0, stall=10.0)  # a busy machine takes long to pack the bomb
    assert slow.fetch_many(urls) == list(found.values())
    reached = ["/plain/my photo/green.jpg", "/plain/yellow.jpg?a=1&b=2&copy=3", "/plain/grün.jpg"]
    assert set(reached) <= set(Shop.asked)
    assert fetcher(retries=0).fetch_many([shop.removeprefix("http:") + "/plain/x.jpg"]) == ["unreachable"], (
        "// is https, which this host does not speak"
    )


def test_hosts_are_told_who_asks(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(Shop, "answer_headers", _noting(told, Shop.answer_headers))
    fetcher().fetch_many([f"{shop}/plain/1.jpg"])
    fetcher(user_agent="Shop pictures (+https://shop.example)").fetch_many([f"{shop}/plain/1.jpg"])
    assert told == [USER_AGENT, "Shop pictures (+https://shop.example)"]
    assert USER_AGENT.startswith("mmprod/")


def _noting(told: list[str], real: Any) -> Any:
    def answer(handler: Shop, **headers: str) -> None:
        told.append(handler.headers["User-Agent"])
        real(handler, **headers)

    return answer


def test_a_dead_host_costs_seconds_and_others_go_on(shop: str, silent: str) -> None:
    """Each of its pictures would take three waits of .3 s: 11 s for 200 of them with 16 threads."""
    urls = [f"{host}/plain/{number}.jpg" for number in range(200) for host in (silent, shop)]
    start = time.monotonic()
    found = fetcher().fetch_many(urls)
    assert time.monotonic() - start < 4
    assert found[1::2] == [PICTURE] * 200
    reasons = Counter(found[0::2])
    assert set(reasons) == {"timeout", "host_down"} and reasons["host_down"] > 150


def test_a_dead_host_is_remembered_from_one_batch_to_the_next(silent: str) -> None:
    one = fetcher()
    one.fetch_many([f"{silent}/{number}" for number in range(32)])
    start = time.monotonic()
    assert one.fetch_many([f"{silent}/{number}" for number in range(1000)]) == ["host_down"] * 1000
    assert time.monotonic() - start < 1


def test_a_host_that_is_away_for_a_moment_loses_no_picture(shop: str) -> None:
    one = fetcher(threads=4, hosts=Hosts(failures=4, pause=0.2))
    assert one.fetch_many([f"{shop}/plain/0.jpg"]) == [PICTURE]
    Shop.dead_until = time.monotonic() + 0.7
    urls = [f"{shop}/plain/{number}.jpg" for number in range(100)]
    assert one.fetch_many(urls) == [PICTURE] * 100
    assert len(Shop.asked) < 130, "it was left alone meanwhile"


def test_a_redirect_to_a_dead_host_ends(shop: str, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(handler: Shop) -> None:
        handler.send_response(302)
        handler.answer_headers(Location=f"{silent}/x.jpg", Content_Length="0")

    monkeypatch.setattr(Shop, "do_GET", away)
    start = time.monotonic()
    found = fetcher(hosts=Hosts(pause=0.5)).fetch_many([f"{shop}/{number}" for number in range(60)])
    assert set(found) == {"timeout", "host_down"} and time.monotonic() - start < 4


def test_after_its_time_nothing_is_fetched(shop: str) -> None:
    one = fetcher(until=time.monotonic() - 1)
    assert one.fetch_many([f"{shop}/plain/{number}.jpg" for number in range(50)]) == ["out_of_time"] * 50
    assert not Shop.asked


def test_what_a_dead_host_withheld_is_fetched_when_the_day_is_run_again(
    shop: str, day_tables: Any, tmp_path: Path
) -> None:
    """Of a table that is partial too; and which of the host's failures it was is no change of a product."""
    rows = [
        {"product_id": f"p{n:02}", "title": f"Mug {n}", "image_url": f"{shop}/plain/{n}.jpg"}
        for n in range(20)
    ]

    def run(**options: Any) -> Any:
        source = PictureSource(None, fetcher(retries=0, threads=1, **options))
        with Store.open(tmp_path / "store") as store:
            table = day_tables.MemoryTable(rows)
            counts = ingest_day(store, table, DAY, full=False, pictures=source)
            reasons = Counter(record.image_reason for record in store.iterate())
            return counts, reasons, store.state_hash()

    Shop.dead_until = time.monotonic() + 3600
    counts, reasons, before = run()
    assert (counts.added, counts.pictures_rejected) == (20, 20)
    assert reasons == {"http_503": 8, "host_down": 12}
    counts, _, now = run(until=time.monotonic())
    assert (counts.unchanged, now) == (20, before)
    Shop.dead_until = 0
    counts, reasons, _ = run()
    assert (counts.picture, reasons) == (20, {None: 20})


def test_a_shortage_of_files_is_not_the_pictures_fault(shop: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    source = PictureSource(tmp_path, fetcher())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    caught: list[int | None] = []
    try:
        for act in (
            lambda: source.fetch([f"{shop}/plain/1.jpg"]),
            lambda: source.fetch(["http://localhost:1/"]),
            lambda: source.read("a.jpg"),
        ):
            try:
                act()
            except OSError as error:
                caught.append(error.errno)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught == [errno.EMFILE] * 3
    assert source.fetch([f"{shop}/plain/1.jpg"]) == [PICTURE]


def test_a_shortage_of_memory_is_not_the_pictures_fault(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Fetcher, "_collect", out_of_memory)
    with pytest.raises(MemoryError):
        fetcher().fetch_many([f"{shop}/plain/1.jpg"])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_request_tries_a_host_that_was_left_alone() -> None:
    clock = Clock()
    hosts = Hosts(failures=3, pause=10, timeout=60, now=clock)
    hosts.answered("a")
    for _ in range(3):
        assert hosts.admit("a")
        hosts.failed("a")
    assert (hosts.admit("a"), hosts.admit("b")) == (False, True)
    assert (hosts.wait("a"), hosts.wait("b")) == (10, 0)
    clock.now = 10
    assert [hosts.admit("a") for _ in range(3)] == [True, False, False]
    hosts.failed("a")
    clock.now = 19.9
    assert not hosts.admit("a")
    clock.now = 20
    assert hosts.admit("a")
    hosts.answered("a")
    assert [hosts.admit("a") for _ in range(3)] == [True] * 3


def test_a_host_is_waited_for_if_it_has_answered_and_not_for_ever() -> None:
    clock = Clock()
    hosts = Hosts(failures=1, pause=10, timeout=60, now=clock)
    hosts.failed("never there")
    hosts.answered("there before")
    hosts.failed("there before")
    assert (hosts.wait("never there"), hosts.wait("there before")) == (None, 10)
    for clock.now in range(10, 61, 10):
        assert hosts.admit("there before")
        hosts.failed("there before")
        assert hosts.wait("there before") == 10
    clock.now = 61
    assert hosts.wait("there before") is None
    clock.now = 70
    assert hosts.admit("there before"), "it is tried all the same"


def test_a_fetcher_made_from_another_shares_what_is_known_of_hosts() -> None:
    one = fetcher()
    assert replace(one, threads=1).hosts is one.hosts
