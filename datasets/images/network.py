"""Connections that go only where they may, and end when they must."""

import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from mmprod.datasets.images.images import BadImage

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that IANA has given out as global unicast. Outside of it lie `::a.b.c.d`, networks' own NAT64
(64:ff9b:1::/48), site-local addresses (fec0::/10) and what nobody has thought of yet."""
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")  # RFC 9637, later than Python's own list


def is_public(address: str) -> bool:
    """Whether an IP address, and the IPv4 address it may carry inside, is one of the public internet."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _UNICAST or ip in _DOCUMENTATION:
            return False
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
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_MEMORY:
            raise MemoryError(str(error)) from error
        os.close(os.dup(0))  # raises where no file can be opened: a look-up calls that an unknown name
        raise httpcore.ConnectError(f"{host}:{port} can't be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
