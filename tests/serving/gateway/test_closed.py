"""Triton's control interfaces are closed to everybody, also to who reads its command line."""

import re
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow
CLOSED = ("/v2/logging", "/v2/trace/setting", "/v2/systemsharedmemory/status", "/v2/repository/index")


def command_line(gateway: Any) -> str:
    """Of the gateway's Triton."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = file.read_bytes()
            parent = int(file.with_name("stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"tritonserver" in told.split(b"\0")[0] and parent == gateway.process.pid:
            return told.replace(b"\0", b"\1").decode()
    raise AssertionError("the gateway has no Triton")


def raw(port: int, path: str, *headers: bytes) -> int:
    """The status that Triton gives to these very bytes."""
    method = b"POST" if path.endswith("index") else b"GET"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        lines = [method + b" " + path.encode() + b" HTTP/1.1", b"Host: x", b"Content-Length: 0", *headers]
        connection.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        answer = connection.recv(65_536)
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_what_the_command_line_tells_opens_nothing(gateway: Any) -> None:
    line = command_line(gateway)
    port = int(re.search(r"--http-port=(\d+)", line)[1])
    said = re.search(r"--http-restricted-api=[^:\1]*:([^\1]*)", line)[1]
    name, _, value = (part.encode() for part in said.partition("="))
    assert httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
    tried = [
        [name + b": " + value],
        [name + b":" + value],
        [name.replace(b"\n", b"\r\n") + b": " + value.replace(b"\n", b"\r\n")],
        [name.replace(b"\n", b"\r\n ") + b": " + value.replace(b"\n", b"\r\n ")],
        [part + b": " + value for part in name.split(b"\n")],
        [part + b":" + other for part in name.split(b"\n") for other in value.split(b"\n")],
        [name.replace(b"\n", b"%0A") + b": " + value.replace(b"\n", b"%0A")],
    ]
    for path in CLOSED:
        for headers in tried:
            assert raw(port, path, *headers) != 200, (path, headers)
        assert raw(port, path) == 403
    assert httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200


def test_triton_listens_on_the_loopback_address_alone(gateway: Any) -> None:
    port = int(re.search(r"--http-port=(\d+)", command_line(gateway))[1])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {fields[1] for fields in listening if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"}
    assert found == {f"0100007F:{port:04X}"}
