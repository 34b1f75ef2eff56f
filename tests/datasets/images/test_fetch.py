"""Pictures from paths and addresses: what arrives, and what must not be reached."""

import contextlib
import gzip
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmprod.datasets.images import images
from mmprod.datasets.images.fetch import Fetcher
from mmprod.datasets.images.images import BadImage, read_image_path
from mmprod.datasets.images.network import is_public

PICTURE = b"\xff\xd8\xff picture"
QUICK = Fetcher(seconds=1.5, stall=0.5, max_bytes=100_000, backoff=0.02, allow_private=True, threads=4)


class Shop(BaseHTTPRequestHandler):
    """Answers by path, as image hosts do on good and bad days."""

    asked: Counter[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        getattr(self, self.path.strip("/").split("/")[0].replace("-", "_"))()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def ok(self) -> None:
        self.answer(200, PICTURE)

    def gone(self) -> None:
        self.answer(404, b"<html>")

    def busy(self) -> None:
        self.answer(*((429, b"") if self.asked[self.path] == 1 else (200, PICTURE)))

    def broken(self) -> None:
        self.answer(503)

    def later(self) -> None:
        self.answer(429, Retry_After="3600")

    def declared(self) -> None:
        self.answer(200, b"x", Content_Length="100001")

    def endless(self) -> None:
        self.answer(200, Transfer_Encoding="chunked")
        for _ in range(1000):
            self.wfile.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")

    def bomb(self) -> None:
        self.answer(200, gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")

    def stalled(self) -> None:
        self.answer(200, b"x", Content_Length="100")
        time.sleep(1)

    def drip(self) -> None:
        self.drop_by_drop(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"x")

    def drip_head(self) -> None:
        self.drop_by_drop(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")

    def drop_by_drop(self, head: bytes, drop: bytes) -> None:
        self.wfile.write(head)
        for _ in range(40):
            self.wfile.write(drop)
            time.sleep(0.1)

    def hop(self) -> None:
        left = int(self.path.rsplit("/", 1)[1])
        self.answer(302, Location=f"/hop/{left - 1}" if left > 1 else "../ok")

    def to_file(self) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def nonsense(self) -> None:
        self.wfile.write(b"\x00\x01\x02 no http at all\r\n\r\n")
        self.close_connection = True

    def hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client leaves, as it should
            super().handle()


@pytest.fixture
def shop() -> Iterator[str]:
    Shop.asked = Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.socket.close()


@pytest.mark.parametrize(
    ("path", "result", "requests"),
    [
        ("/ok", PICTURE, 1),
        ("/gone", "http_404", 1),
        ("/busy", PICTURE, 2),
        ("/broken", "http_503", 3),
        ("/later", "http_429", 1),  # asks for more patience than the deadline has
        ("/declared", "too_large", 1),
        ("/endless", "too_large", 1),
        ("/bomb", "too_large", 1),
        ("/to-file", "bad_scheme", 1),
        ("/nonsense", "unreachable", 3),
        ("/hang-up", "unreachable", 3),
    ],
)
def test_what_a_host_answers_and_how_often_it_is_asked(
    shop: str, path: str, result: bytes | str, requests: int
) -> None:
    assert QUICK.fetch_many([shop + path]) == [result]
    assert Shop.asked[path] == requests


@pytest.mark.parametrize("path", ["/stalled", "/drip", "/drip-head"])
def test_a_slow_host_costs_no_more_than_the_deadline(shop: str, path: str) -> None:
    start = time.monotonic()
    assert QUICK.fetch_many([shop + path]) == ["timeout"]
    assert time.monotonic() - start < QUICK.seconds + 0.5


def test_redirects_are_followed_up_to_a_limit(shop: str) -> None:
    assert QUICK.fetch_many([f"{shop}/hop/3", f"{shop}/hop/4"]) == [PICTURE, "too_many_redirects"]


def test_many_at_once_keep_their_order(shop: str) -> None:
    urls = [shop + path for path in ("/ok", "/gone", "/drip", "/ok", "/bomb", "/busy", "/stalled", "/ok")] * 3
    expected = [PICTURE, "http_404", "timeout", PICTURE, "too_large", PICTURE, "timeout", PICTURE] * 3
    assert replace(QUICK, threads=12).fetch_many(urls) == expected


def test_private_addresses_are_not_even_connected_to(shop: str) -> None:
    public_only = replace(QUICK, allow_private=False)
    port = shop.rsplit(":", 1)[1]
    names = ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]"]
    names += ["[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "user@127.0.0.1"]
    refused = public_only.fetch_many([f"http://{name}:{port}/ok" for name in names])
    assert set(refused) <= {"private_address", "unreachable", "bad_url"}
    assert refused[0] == refused[1] == refused[-1] == "private_address"
    assert not Shop.asked


def test_the_address_that_was_checked_is_the_one_connected_to(
    shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when checked and private a moment later (DNS rebinding) gains nothing."""
    resolved: list[str] = []
    answers = iter(["203.0.113.9", "127.0.0.1"])

    def rebinding(host: str, port: int, *_: object, **__: object) -> list[object]:
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr("mmprod.datasets.images.network.is_public", lambda address: address == "203.0.113.9")
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", rebinding)
        connected = {}

        def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
            connected["to"] = address
            raise OSError("nothing is there")

        patch.setattr(socket, "create_connection", connect)
        result = replace(QUICK, allow_private=False, retries=0).fetch_many(["http://shop.example/ok"])
    assert (result, resolved, connected["to"]) == (["unreachable"], ["shop.example"], ("203.0.113.9", 80))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "bad_scheme"),
        ("ftp://example.com/x", "bad_scheme"),
        ("data:image/png;base64,AAAA", "bad_scheme"),
        ("images/1.jpg", "bad_url"),
        ("", "bad_url"),
        ("http://", "bad_url"),
        ("http://a\0b/", "bad_url"),
        ("http://[half/", "unreachable"),
        ("http://127.0.0.1:99999/", "unreachable"),
        ("http://" + "a" * 300 + "/", "unreachable"),
    ],
)
def test_addresses_that_are_none(url: str, reason: str) -> None:
    assert replace(QUICK, retries=0).fetch_many([url]) == [reason]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("2002:808:808::", True),
        ("::8.8.8.8", False),
        ("::10.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b:1::a00:1", False),
        ("64:ff9b:1::808:808", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("100::1", False),
        ("5f00::1", False),
        ("4000::1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("2001::1", False),
        ("::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def refused_path(path: str, root: Path) -> str:
    with pytest.raises(BadImage) as caught:
        read_image_path(path, root)
    return caught.value.reason


def test_paths_stay_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pictures"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.jpg").write_bytes(PICTURE)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "pictures-too").mkdir()
    (tmp_path / "pictures-too" / "b.jpg").write_bytes(b"secret")
    (root / "inside").symlink_to(root / "sub" / "a.jpg")
    (root / "outside").symlink_to(tmp_path / "secret.jpg")
    (root / "loop").symlink_to(root / "loop")
    assert read_image_path("sub/a.jpg", root) == PICTURE
    assert read_image_path("sub/../sub/a.jpg", root) == PICTURE
    assert read_image_path("inside", root) == PICTURE
    assert read_image_path(str(root / "sub" / "a.jpg"), root) == PICTURE
    for path in (
        "../secret.jpg",
        "outside",
        str(tmp_path / "secret.jpg"),
        "../pictures-too/b.jpg",
        "/dev/zero",
    ):
        assert refused_path(path, root) == "outside_root"
    for path in ("none.jpg", "sub", "", "loop", "a\0b", "x" * 5000):
        assert refused_path(path, root) == "missing"
    monkeypatch.setattr(images, "MAX_BYTES", len(PICTURE) - 1)
    assert refused_path("sub/a.jpg", root) == "too_large"
