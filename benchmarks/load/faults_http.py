"""Faults of HTTP itself: what is sent is no request, or none that this service takes."""

import gzip
import json
import random
from collections.abc import Callable
from typing import Any

from load.wire import http

Fault = Callable[[random.Random, str, dict[str, Any]], bytes]
_CLOSED = (
    "/v2/repository/index",
    "/v2/repository/models/text_encoder/load",
    "/v2/repository/models/text_encoder/unload",
    "/v2/systemsharedmemory/region/a/register",
    "/v2/systemsharedmemory/status",
    "/v2/cudasharedmemory/status",
    "/v2/logging",
    "/v2/trace/setting",
    "/metrics",
)
_NOWHERE = (
    "/",
    "/v2/models/nothing/infer",
    "/v2/models/text_encoder/versions/2/infer",
    "/v2/models/../../etc/passwd",
    "/v2/models/text_encoder%2finfer",
    "/v1/models/text_encoder:predict",
    "//v2",
    "/v2/models/text_encoder/generate",
)


def _line(method: str, path: str, headers: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode()


def _infer(chance: random.Random, headers: str, body: bytes = b"{}") -> bytes:
    return _line("POST", "/v2/models/text_encoder/infer", headers) + body


def _method(chance: random.Random, model: str, _: dict[str, Any]) -> bytes:
    return _line(chance.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS")), f"/v2/models/{model}/infer")


def _compressed(chance: random.Random, model: str, request: dict[str, Any]) -> bytes:
    body = gzip.compress(json.dumps(request).encode())
    return http(model, body, f"Content-Encoding: {chance.choice(('gzip', 'br', 'deflate', 'x'))}\r\n")


def _length(chance: random.Random, *_: Any) -> bytes:
    wrong = ("-1", "x", "1e3", "2\r\nContent-Length: 3", "9" * 40, "0x2")
    return _infer(chance, f"Content-Length: {chance.choice(wrong)}\r\n")


def _chunks(chance: random.Random, *_: Any) -> bytes:
    wrong = (b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n", b"fffffffffffffffff\r\n{}", b"2\r\n{}xx\r\n0\r\n\r\n")
    return _infer(chance, "Transfer-Encoding: chunked\r\n", chance.choice(wrong))


def _header(chance: random.Random, *_: Any) -> bytes:
    wrong = (
        f"A: {'x' * chance.randint(20_000, 60_000)}\r\n",
        "no colon\r\n",
        "a b: c\r\n",
        ": x\r\n",
        "A: \0\r\n",
    )
    return _infer(chance, chance.choice(wrong) + "Content-Length: 2\r\n")


def _noise(chance: random.Random, *_: Any) -> bytes:
    wrong = (
        b"\x16\x03\x01" + chance.randbytes(200),
        b"HELLO\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"{}\r\n\r\n",
    )
    return chance.choice(wrong) + b"\r\n\r\n"


HTTP_FAULTS: dict[str, Fault] = {
    "wrong method": _method,
    "closed API": lambda chance, *_: _line(chance.choice(("GET", "POST")), chance.choice(_CLOSED)),
    "no such path": lambda chance, *_: _line(chance.choice(("GET", "POST")), chance.choice(_NOWHERE)),
    "path too long": lambda chance, *_: _line("GET", "/v2/" + "a" * chance.randint(10_000, 100_000)),
    "compressed": _compressed,
    "wrong Content-Length": _length,
    "body too large": lambda chance, *_: _infer(chance, f"Content-Length: {10 ** chance.randint(9, 15)}\r\n"),
    "broken chunks": _chunks,
    "broken header": _header,
    "no HTTP": _noise,
}
