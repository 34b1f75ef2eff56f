"""What of HTTP is the same for every client: addresses, and what a response means."""

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from mmprod.serving.client.retry import Unavailable
from mmprod.serving.kserve import JSON_LENGTH, Outputs, decode
from mmprod.serving.refused import Refused
from mmprod.storage.errors import InputError, StateError

_PASSING = (429, 502, 503)
_FAULTS = (400, 413, 415, 422)  # of the request


def base_url(address: str) -> str:
    """The URL of "host:port", or of what is one already. Raises: InputError for neither."""
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0 and parts.scheme in ("http", "https"):
            return f"{parts.scheme}://{parts.netloc}"
    except ValueError:  # no number as port, or one that is too large
        pass
    raise InputError(f"{address!r} is no address of a server: want one like 127.0.0.1:8000")


def path(model: str) -> str:
    """Where a model is asked."""
    return f"/v2/models/{model}/infer"


def outputs(address: str, status: int, headers: Mapping[str, str], body: bytes) -> Outputs:
    """The outputs that an inference response carries.

    Raises: Refused for a request at fault; Unavailable where asking again may help; else StateError.
    """
    if status == 200:
        try:
            return decode(body, headers.get(JSON_LENGTH))
        except ValueError as error:
            raise StateError(f"{address}: {error}") from error
    told = _told(body)
    if 400 <= status < 500 and (refused := Refused.parse(told)):
        raise refused
    if status in _FAULTS:
        raise Refused("bad_request", told)
    message = f"{address} answers {status}: {told}"
    if status in _PASSING:
        raise Unavailable(message, _seconds(headers.get("Retry-After", "")))
    raise StateError(message)


def unanswered(address: str, error: Exception) -> Unavailable:
    """There is no response, or a part of one only."""
    reason = str(error) or type(error).__name__
    return Unavailable(f"no answer from {address}: {reason}; does `mmprod triton status` say that it runs?")


def _told(body: bytes) -> str:
    """The message of an error; the start of the body where it is none of the protocol's."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return body[:200].decode(errors="replace")


def _seconds(text: str) -> float:
    """Of a Retry-After header, which may also be a date or nonsense: then it counts nothing."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
