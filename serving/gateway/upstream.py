"""Forwards requests to Triton, and translates Triton's errors to those of the service."""

import asyncio
import json
import logging
import re
from functools import lru_cache
from typing import NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from mmprod.serving.errors import Refused
from mmprod.serving.gateway.backend import Backend
from mmprod.serving.gateway.errors import HttpError, bad_request

LENGTH = "Inference-Header-Content-Length"
"""Header: the length of a body's JSON, which binary tensors follow."""
_NAN = re.compile(rb'("(?:[^"\\]|\\.)*")|-?(?:NaN|Infinity)\b')
_REQUEST_ID = re.compile(r"^\[request id: .*?\] ")
_BROKEN = re.compile(r"stub process|not healthy|not ready", re.IGNORECASE)

_PROBE_AFTER = 1.0  # seconds: a request with a shorter timeout says nothing about the server

logger = logging.getLogger(__name__)


class TritonResponse(NamedTuple):
    """Triton's response of status 200; `json_length`: the value of header LENGTH, "" if all of it is JSON."""

    body: bytes
    kind: str  # Content-Type
    json_length: str


def open_session(deadline: float) -> ClientSession:
    """Persistent connections to Triton, as many as requests in flight."""
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=60, use_dns_cache=False),
        timeout=ClientTimeout(total=deadline),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


async def forward(
    session: ClientSession,
    backend: Backend,
    method: str,
    path: str,
    body: bytes,
    json_length: str | None,
    timeout: float | None,
) -> TritonResponse:
    """Send a request to Triton, its body unchanged. `timeout`: the client's own, in seconds, if it set one.

    Raises: HttpError.
    """
    headers = {} if json_length is None else {LENGTH: json_length}
    try:
        async with (
            asyncio.timeout(timeout),
            session.request(
                method, _url(backend.address, path), data=body or None, headers=headers
            ) as response,
        ):
            content = await response.read()
    except TimeoutError as error:
        probe = (timeout or _PROBE_AFTER) >= _PROBE_AFTER
        raise HttpError(504, "deadline", "no answer in time", probe=probe) from error
    except (ClientError, OSError) as error:
        raise _unavailable("the server") from error
    if response.status != 200:
        raise _error(response.status, content)
    kind = response.headers.get("Content-Type", "")
    return _without_nan(TritonResponse(content, kind, response.headers.get(LENGTH, "")))


@lru_cache
def _url(address: str, path: str) -> URL:
    return URL(f"http://{address}{path}", encoded=True)


def _error(status: int, body: bytes) -> HttpError:
    """The error for the client from an error of Triton."""
    message = _message(body)
    if status < 500:
        if refused := Refused.parse(message):
            return bad_request(refused)
        return HttpError(status, "bad_request", _REQUEST_ID.sub("", message))
    logger.error("Triton answers %d: %s", status, message)
    if status == 503 or _BROKEN.search(message):
        return _unavailable("the model")
    return HttpError(500, "failed", "the model failed; see the server's log", probe=True)


def _unavailable(what: str) -> HttpError:
    return HttpError(503, "unavailable", f"{what} is being restarted", probe=True)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return body[:500].decode(errors="replace")


def _without_nan(response: TritonResponse) -> TritonResponse:
    """The response with null for NaN and Infinity, which Triton writes although JSON does not have them."""
    body, kind, json_length = response
    if b"NaN" not in body and b"Infinity" not in body:
        return response
    length = int(json_length or len(body))
    valid = _NAN.sub(lambda match: match[1] or b"null", body[:length])
    return TritonResponse(valid + body[length:], kind, str(len(valid)) if json_length else "")
