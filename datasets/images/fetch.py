"""Fetching pictures from the addresses in product rows.

Addresses come from sellers, so they must not give access to the network this runs in.
"""

import math
import random
import re
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version

import httpcore
import httpx

from mmprod.datasets.images.hosts import Hosts
from mmprod.datasets.images.images import MAX_BYTES, BadImage
from mmprod.datasets.images.network import CheckedNetwork
from mmprod.storage.errors import shortage

HOST_DOWN, OUT_OF_TIME = "host_down", "out_of_time"
USER_AGENT = f"mmprod/{version('mmprod')}"
_REDIRECTS = (301, 302, 303, 307, 308)
_NOBODY_BEHIND = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
_ZIPPED = ("gzip", "x-gzip", "deflate")
_AMPERSAND = re.compile("&(?:amp|#38|#x26);", re.IGNORECASE)


class _TryAgain(BadImage):
    """A temporary failure, such as a timeout or an overloaded server.

    `after`: seconds the server asks to wait; `down`: the host failed, rather than this picture.
    """

    def __init__(self, reason: str, after: float = 0, down: bool = True) -> None:
        super().__init__(reason)
        self.after, self.down = after, down


class _Skipped(_TryAgain):
    """`host` is paused now (see `Hosts`), so it was not tried."""

    def __init__(self, host: str) -> None:
        super().__init__(HOST_DOWN)
        self.host = host


@dataclass(frozen=True)
class Fetcher:
    """Fetches pictures over http(s), from public addresses only unless `allow_private`.

    Each redirect is checked like the first address. Proxies set in the environment are not used: they would
    resolve the host again. A host that doesn't answer is paused for a while (`Hosts`), and its pictures are
    refused at once; if it has answered before, `fetch_many` waits a little for it.
    """

    seconds: float = 30  # for one picture with all its redirects and retries, without name resolution
    stall: float = 5  # the longest wait for a connection or for the next bytes, in seconds
    max_bytes: int = MAX_BYTES
    retries: int = 2
    backoff: float = 0.5  # seconds before the first retry, doubled for each further one
    redirects: int = 3
    threads: int = 16
    allow_private: bool = False
    user_agent: str = USER_AGENT
    until: float = math.inf  # a `time.monotonic()` time; later fetches are refused
    hosts: Hosts = field(default_factory=Hosts, compare=False)

    def fetch_many(self, urls: Sequence[str]) -> list[bytes | str]:
        """For each address the picture's bytes, or the reason why there are none; order is kept.

        Reasons: ``bad_url``, ``bad_scheme``, ``private_address``, ``unreachable``, ``http_STATUS``,
        ``too_many_redirects``, ``compressed``, ``too_large``, ``timeout``, ``host_down`` (not tried: the host
        has not answered lately), ``out_of_time`` (not tried: it is after `until`).
        Raises: MemoryError, OSError when this process lacks memory or file descriptors.
        """
        found: dict[int, bytes | str | _Skipped] = {}
        network = CheckedNetwork(self.allow_private)
        with (
            httpcore.ConnectionPool(max_connections=self.threads, network_backend=network) as pool,
            ThreadPoolExecutor(self.threads) as workers,
        ):
            places = list(range(len(urls)))
            while places:
                come = workers.map(lambda place: self._fetch(network, pool, urls[place]), places)
                found.update(zip(places, come, strict=True))
                places = self._worth_waiting(found)
        ordered = (found[place] for place in range(len(urls)))
        return [it.reason if isinstance(it, _Skipped) else it for it in ordered]

    def _worth_waiting(self, found: Mapping[int, bytes | str | _Skipped]) -> list[int]:
        """Indices of skipped addresses to retry: sleeps until the first of their hosts may be tried again."""
        skipped = {place: it.host for place, it in found.items() if isinstance(it, _Skipped)}
        waits = {place: self.hosts.wait(host) for place, host in skipped.items()}
        worth = {place: wait for place, wait in waits.items() if wait is not None}
        if worth:
            time.sleep(max(0, min(*worth.values(), self.until - time.monotonic())))
        return list(worth)

    def _fetch(
        self, network: CheckedNetwork, pool: httpcore.ConnectionPool, url: str
    ) -> bytes | str | _Skipped:
        if (start := time.monotonic()) >= self.until:
            return OUT_OF_TIME
        deadline = min(start + self.seconds, self.until)
        network.set_deadline(deadline)
        reason = HOST_DOWN
        for attempt in range(self.retries + 1):
            try:
                return self._follow(pool, url)
            except _Skipped as skipped:
                skipped.reason = reason  # if it was tried before, the reason of that attempt
                return skipped
            except _TryAgain as refused:
                reason = refused.reason
                # Half of the wait is random, so that retries of many pictures of one host are spread out.
                pause = max(refused.after, self.backoff * 2**attempt * random.uniform(0.5, 1))
                if attempt == self.retries or time.monotonic() + pause >= deadline:
                    break
                time.sleep(pause)
            except BadImage as refused:
                return refused.reason
        return reason

    def _follow(self, pool: httpcore.ConnectionPool, url: str) -> bytes:
        target = _parse(httpx.URL(), _meant(url))
        for _ in range(self.redirects + 1):
            answer = self._get(pool, target)
            if isinstance(answer, bytes):
                return answer
            target = _parse(target, answer)
        raise BadImage("too_many_redirects")

    def _get(self, pool: httpcore.ConnectionPool, url: httpx.URL) -> bytes | str:
        """The body, or the address of a redirect; records in `hosts` whether the server answered."""
        host = url.netloc.decode()
        if not self.hosts.admit(host):
            raise _Skipped(host)
        try:
            found = self._ask(pool, url)
        except BadImage as refused:
            if isinstance(refused, _TryAgain) and refused.down:
                self.hosts.failed(host)
            else:
                self.hosts.answered(host)
            raise
        self.hosts.answered(host)
        return found

    def _ask(self, pool: httpcore.ConnectionPool, url: httpx.URL) -> bytes | str:
        asked = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": self.user_agent}
        headers = {"Host": url.netloc.decode(), **asked}
        request = httpcore.Request(
            "GET",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=list(headers.items()),
            extensions={"timeout": dict.fromkeys(("connect", "read", "write"), self.stall)},
        )
        try:
            response = pool.handle_request(request)
            try:
                return self._read(response)
            finally:
                response.close()
        except BadImage:
            raise
        except httpcore.TimeoutException as error:
            raise _TryAgain("timeout") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
            if own := shortage(error):
                raise own from None
            raise _TryAgain("unreachable") from error

    def _read(self, response: httpcore.Response) -> bytes | str:
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in headers:
            return _as_sent(headers[b"location"])
        _check_status(response.status, headers.get(b"retry-after", ""))
        if int(headers.get(b"content-length", "0")) > self.max_bytes:
            raise BadImage("too_large")
        coding = headers.get(b"content-encoding", "").strip().lower()
        return self._collect(self._plain(response.iter_stream(), coding))

    def _collect(self, pieces: Iterable[bytes]) -> bytes:
        body = bytearray()
        for piece in pieces:
            body += piece
            if len(body) > self.max_bytes:
                raise BadImage("too_large")
        return bytes(body)

    def _plain(self, pieces: Iterable[bytes], coding: str) -> Iterable[bytes]:
        """Decompress a body, since some servers compress everything; no part is longer than the limit + 1."""
        if coding in ("", "identity"):
            yield from pieces
            return
        if coding not in _ZIPPED:
            raise BadImage("compressed")
        zipped = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # with a header of gzip or zlib
        try:
            for piece in pieces:
                yield zipped.decompress(piece, self.max_bytes + 1)
        except zlib.error as error:
            raise BadImage("compressed") from error
        if not zipped.eof:
            raise BadImage("compressed")


def _meant(address: str) -> str:
    """Complete an address as written in shops' pages and feeds: ``//host/x.jpg``, ``?a=1&amp;b=2``."""
    address = _AMPERSAND.sub("&", address.strip())
    return f"https:{address}" if address.startswith("//") else address


def _as_sent(header: str) -> str:
    """A header's text as UTF-8 if possible: HTTP reads it as Latin-1, but paths are mostly sent in UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _parse(base: httpx.URL, text: str) -> httpx.URL:
    try:
        url = base.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise BadImage("bad_url") from error
    if url.scheme not in ("http", "https"):
        raise BadImage("bad_scheme" if url.scheme else "bad_url")
    if not url.host:
        raise BadImage("bad_url")
    return url


def _check_status(status: int, retry_after: str) -> None:
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        after = float(retry_after) if retry_after.isdecimal() else 0
        raise _TryAgain(f"http_{status}", after, status in _NOBODY_BEHIND)
    if status != HTTPStatus.OK:
        raise BadImage(f"http_{status}")
