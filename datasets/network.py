"""Connections that go only where they may, and end when they must."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from mmprod.datasets.images import BadImage

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address, and the IPv4 address it may carry inside, is one of the public internet."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


class CheckedNetwork(httpcore.NetworkBackend):
    """Resolves a host once, checks each of its addresses, and connects to the very address it checked.

    Every wait on a connection also ends at the deadline of the thread that waits: a server that sends one
    byte now and then would outlast any limit on single reads.
    """

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets = httpcore.SyncBackend()
        self._thread = threading.local()

    def set_deadline(self, deadline: float) -> None:
        """Set when the calling thread's waits end, as `time.monotonic()` counts."""
        self._thread.deadline = deadline

    def within(self, timeout: float | None) -> float:
        """Seconds the next wait may take. Raises: httpcore.ReadTimeout after the deadline."""
        left: float = self._thread.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return left if timeout is None else min(timeout, left)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of `host` that may be and answers; BadImage when none may be."""
        failure: Exception = BadImage("private_address")
        for address in _resolve(host, port):
            if not (self._allow_private or is_public(address)):
                continue
            try:
                wait = self.within(timeout)
                stream = self._sockets.connect_tcp(address, port, wait, local_address, socket_options)
                return _Stream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, network: CheckedNetwork) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        wait = self._network.within(timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, wait), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:  # unknown, no name at all, a port beyond 65535
        raise httpcore.ConnectError(f"{host}:{port} can't be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
