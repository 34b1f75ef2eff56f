"""Reading the bodies of requests, with limits on size and time."""

import asyncio

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import RequestPayloadError

from mmprod.serving.gateway.errors import HttpError

_MOST_BODIES = 8  # bodies of the largest size that may be in memory at the same time


class BodyReader:
    """Reads bodies of at most `most` bytes within `seconds`; all bodies in memory: at most 8 times `most`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._held = 0

    async def read(self, request: web.BaseRequest) -> bytes:
        """A request's body, which counts as in memory until it is released.

        Raises: HttpError for a body that is too large (413), too slow (408), incomplete (400), compressed
        (415), or too large together with the others (503).
        """
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpError(415, "bad_request", "the body is compressed: send it uncompressed", close=True)
        if (request.content_length or 0) > self._most:
            raise self._too_large()
        if "Expect" in request.headers:
            await _send_continue(request)
        content = request.content
        if content.is_eof():  # it came with the headers, as most bodies do
            body = content.read_nowait(-1)
            self._hold(len(body), len(body))
            return body
        return await self._read(request)

    def release(self, body: bytes) -> None:
        """No longer count a body as in memory."""
        self._held -= len(body)

    async def _read(self, request: web.BaseRequest) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                while piece := await request.content.readany():
                    self._hold(len(piece), size + len(piece))
                    size += len(piece)
                    pieces.append(piece)
        except BaseException as error:
            self._held -= size
            raise _read_error(error, self._seconds) from error
        return b"".join(pieces)

    def _hold(self, more: int, size: int) -> None:
        if size > self._most:
            raise self._too_large()
        if self._held + more > _MOST_BODIES * self._most:
            raise HttpError(503, "overloaded", "too many large requests at the same time", close=True)
        self._held += more

    def _too_large(self) -> HttpError:
        return HttpError(413, "too_large", f"a body of over {self._most} bytes", close=True)


async def _send_continue(request: web.BaseRequest) -> None:
    """Answer a client that waits for "100 Continue" before it sends its body."""
    if request.headers["Expect"].lower() != "100-continue":
        raise HttpError(417, "bad_request", "Expect may be 100-continue only", close=True)
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # nothing of the response itself has been sent


def _read_error(error: BaseException, seconds: float) -> BaseException:
    if isinstance(error, TimeoutError):
        return HttpError(408, "bad_request", f"the body took more than {seconds:g} s", close=True)
    if isinstance(error, RequestPayloadError):
        return HttpError(400, "bad_request", f"the body is broken: {error}", close=True)
    return error
