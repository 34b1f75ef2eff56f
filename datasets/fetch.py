"""Getting a picture's bytes from the address that its row says they are at.

Addresses come from sellers, so none may become a way into the network this runs in.
"""

import random
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

import httpcore
import httpx

from mmprod.datasets.images import MAX_BYTES, BadImage
from mmprod.datasets.network import CheckedNetwork

_REDIRECTS = (301, 302, 303, 307, 308)


class _TryAgain(BadImage):
    """A refusal that may pass: a timeout, an overloaded server. `after`: seconds the server asks to wait."""

    def __init__(self, reason: str, after: float = 0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True)
class Fetcher:
    """Fetches pictures over http(s), from public addresses only unless `allow_private`.

    Each redirect is checked like the first address. Proxies set in the environment are not used: they would
    resolve the host anew.
    """

    seconds: float = 30  # for one picture with all its redirects and retries, name resolution apart
    stall: float = 5  # the longest wait for a connection or for the next bytes, in seconds
    max_bytes: int = MAX_BYTES
    retries: int = 2
    backoff: float = 0.5  # seconds before the first retry, doubled for each further one
    redirects: int = 3
    threads: int = 16
    allow_private: bool = False

    def fetch_many(self, urls: Sequence[str]) -> list[bytes | str]:
        """For each address its picture's bytes, or in their place why there are none; order is kept.

        Reasons: ``bad_url``, ``bad_scheme``, ``private_address``, ``unreachable``, ``http_STATUS``,
        ``too_many_redirects``, ``compressed``, ``too_large``, ``timeout``.
        """
        network = CheckedNetwork(self.allow_private)
        with (
            httpcore.ConnectionPool(max_connections=self.threads, network_backend=network) as pool,
            ThreadPoolExecutor(self.threads) as workers,
        ):
            return list(workers.map(lambda url: self._fetch(network, pool, url), urls))

    def _fetch(self, network: CheckedNetwork, pool: httpcore.ConnectionPool, url: str) -> bytes | str:
        deadline = time.monotonic() + self.seconds
        network.set_deadline(deadline)
        for attempt in range(self.retries + 1):
            try:
                return self._follow(pool, url)
            except _TryAgain as refused:
                reason = refused.reason
                # Half of the wait is left to chance, so that many pictures of one host don't return as one.
                pause = max(refused.after, self.backoff * 2**attempt * random.uniform(0.5, 1))
                if attempt == self.retries or time.monotonic() + pause >= deadline:
                    break
                time.sleep(pause)
            except BadImage as refused:
                return refused.reason
        return reason

    def _follow(self, pool: httpcore.ConnectionPool, url: str) -> bytes:
        target = _parse(httpx.URL(), url)
        for _ in range(self.redirects + 1):
            answer = self._get(pool, target)
            if isinstance(answer, bytes):
                return answer
            target = _parse(target, answer)
        raise BadImage("too_many_redirects")

    def _get(self, pool: httpcore.ConnectionPool, url: httpx.URL) -> bytes | str:
        """The body, or where the server redirects to."""
        request = httpcore.Request(
            "GET",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers={"Host": url.netloc, "Accept": "image/*", "Accept-Encoding": "identity"},
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
            raise _TryAgain("unreachable") from error

    def _read(self, response: httpcore.Response) -> bytes | str:
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in headers:
            return headers[b"location"]
        _check_status(response.status, headers.get(b"retry-after", ""))
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise BadImage("compressed")  # against what was asked for, and a bomb's way in
        if int(headers.get(b"content-length", "0")) > self.max_bytes:
            raise BadImage("too_large")
        return self._collect(response.iter_stream())

    def _collect(self, pieces: Iterable[bytes]) -> bytes:
        body = bytearray()
        for piece in pieces:
            body += piece
            if len(body) > self.max_bytes:
                raise BadImage("too_large")
        return bytes(body)


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
        raise _TryAgain(f"http_{status}", float(retry_after) if retry_after.isdecimal() else 0)
    if status != HTTPStatus.OK:
        raise BadImage(f"http_{status}")
