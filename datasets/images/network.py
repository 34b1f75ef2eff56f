"""Network connections restricted to public addresses, with a deadline."""

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
"""The part of IPv6 that IANA allocates as global unicast. Outside are `::a.b.c.d`, local-use NAT64
(64:ff9b:1::/48), site-local addresses (fec0::/10) and all future special ranges."""
_DOCUMENTATION = ipaddress.ip_network("3fff::/20")  # RFC 9637, later than Python's own list


def is_public(address: str) -> bool:
    """Whether an IP address, and any IPv4 address embedded in it, belongs to the public internet."""
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
    """Resolves a host once, checks each of its addresses, and connects to exactly the address it checked.

    Every wait on a connection also ends at the calling thread's deadline: a server that sends a byte now and
    then would never exceed a limit on single reads.
    """

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets = httpcore.SyncBackend()
        self._thread = threading.local()

    def set_deadline(self, deadline: float) -> None:
        """Set the deadline of the calling thread's waits, as a `time.monotonic()` time."""
        self._thread.deadline = deadline

    def within(self, timeout: float | None) -> float:
        """Longest duration of the next wait in seconds. Raises: httpcore.ReadTimeout after the deadline."""
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
        """Connect to the first allowed address of `host` that answers; BadImage if no address is allowed."""
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
    except (OSError, UnicodeError, OverflowError) as error:  # unknown, not a name, a port beyond 65535
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_MEMORY:
            raise MemoryError(str(error)) from error
        os.close(os.dup(0))  # raises if no file can be opened, which a look-up reports as an unknown name
        raise httpcore.ConnectError(f"{host}:{port} can't be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
