"""HTTP details that both clients share: addresses, and how responses are read."""

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from mmprod.serving.client.retry import Unavailable
from mmprod.serving.errors import Refused
from mmprod.serving.kserve import JSON_LENGTH, Outputs, decode
from mmprod.storage.errors import InputError, StateError

_RETRY = (429, 502, 503)
_BAD_REQUEST = (400, 413, 415, 422)


def base_url(address: str) -> str:
    """The URL for "host:port" or a URL. Raises: InputError for any other text."""
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0 and parts.scheme in ("http", "https"):
            return f"{parts.scheme}://{parts.netloc}"
    except ValueError:  # the port is not a number, or too large
        pass
    raise InputError(f"{address!r} is not the address of a server: want one like 127.0.0.1:8000")


def infer_path(model: str) -> str:
    """The path of a model's inference requests."""
    return f"/v2/models/{model}/infer"


def read_outputs(address: str, status: int, headers: Mapping[str, str], body: bytes) -> Outputs:
    """The outputs in an inference response.

    Raises: Refused for a bad request, Unavailable if a retry can succeed, StateError for other failures.
    """
    if status == 200:
        try:
            return decode(body, headers.get(JSON_LENGTH))
        except ValueError as error:
            raise StateError(f"{address}: {error}") from error
    reason = _reason(body)
    if 400 <= status < 500 and (refused := Refused.parse(reason)):
        raise refused
    if status in _BAD_REQUEST:
        raise Refused("bad_request", reason)
    message = f"{address} answers {status}: {reason}"
    if status in _RETRY:
        raise Unavailable(message, _seconds(headers.get("Retry-After", "")))
    raise StateError(message)


def no_response(address: str, error: Exception) -> Unavailable:
    """The error for a request without a response, or with an incomplete one."""
    reason = str(error) or type(error).__name__
    return Unavailable(f"no answer from {address}: {reason}; check with `mmprod triton status` that it runs")


def _reason(body: bytes) -> str:
    """The message of an error response; the start of the body if it isn't one of the protocol."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return body[:200].decode(errors="replace")


def _seconds(text: str) -> float:
    """The seconds of a Retry-After header; 0 for a date or anything else."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
