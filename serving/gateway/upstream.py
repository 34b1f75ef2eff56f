"""The gateway's side towards Triton: one request passed on, and its errors put into the service's words."""

import asyncio
import json
import logging
import re
from functools import lru_cache
from typing import NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from mmprod.serving.gateway.answers import Unanswered, refusal
from mmprod.serving.gateway.backend import Backend
from mmprod.serving.refused import Refused

LENGTH = "Inference-Header-Content-Length"
"""How much of a body is JSON; what follows are binary tensors."""
_NAN = re.compile(rb'("(?:[^"\\]|\\.)*")|-?(?:NaN|Infinity)\b')
_REQUEST = re.compile(r"^\[request id: .*?\] ")
_BROKEN = re.compile(r"stub process|not healthy|not ready", re.IGNORECASE)

_PATIENT = 1.0  # seconds after which no answer makes the server suspicious

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """Triton's answer of status 200; `json_length` as in the header LENGTH, "" where all of it is JSON."""

    body: bytes
    kind: str  # Content-Type
    json_length: str


def open_session(deadline: float) -> ClientSession:
    """Connections to Triton, kept and used again; as many as there are requests in flight."""
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=60, use_dns_cache=False),
        timeout=ClientTimeout(total=deadline),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


async def ask(
    session: ClientSession,
    backend: Backend,
    method: str,
    path: str,
    body: bytes,
    json_length: str | None,
    seconds: float | None,
) -> Answer:
    """Pass a request on, its body unchanged. Raises: Unanswered, also after the `seconds` it is given."""
    headers = {} if json_length is None else {LENGTH: json_length}
    try:
        async with (
            asyncio.timeout(seconds),
            session.request(
                method, _url(backend.address, path), data=body or None, headers=headers
            ) as response,
        ):
            found = await response.read()
    except TimeoutError as error:
        raise Unanswered(
            504, "deadline", "no answer in time", suspicious=(seconds or _PATIENT) >= _PATIENT
        ) from error
    except (ClientError, OSError) as error:
        raise _unavailable("the server") from error
    if response.status != 200:
        raise _failed(response.status, found)
    kind = response.headers.get("Content-Type", "")
    return _without_nan(Answer(found, kind, response.headers.get(LENGTH, "")))


@lru_cache
def _url(address: str, path: str) -> URL:
    return URL(f"http://{address}{path}", encoded=True)


def _failed(status: int, body: bytes) -> Unanswered:
    """What an error of Triton means to the client."""
    message = _message(body)
    if status < 500:
        refused = Refused.parse(message)
        return refusal(refused) if refused else Unanswered(status, "bad_request", _REQUEST.sub("", message))
    logger.error("Triton answers %d: %s", status, message)
    if status == 503 or _BROKEN.search(message):
        return _unavailable("the model")
    return Unanswered(500, "failed", "the model failed; the server's log has more", suspicious=True)


def _unavailable(what: str) -> Unanswered:
    return Unanswered(503, "unavailable", f"{what} is being started again", suspicious=True)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return body[:500].decode(errors="replace")


def _without_nan(answer: Answer) -> Answer:
    """An answer whose JSON is JSON: null for NaN, which Triton writes as it is."""
    if b"NaN" not in answer.body and b"Infinity" not in answer.body:
        return answer
    length = int(answer.json_length or len(answer.body))
    told = _NAN.sub(lambda found: found[1] or b"null", answer.body[:length])
    return Answer(told + answer.body[length:], answer.kind, str(len(told)) if answer.json_length else "")
