"""Reading what clients send, in bounds of size and time."""

import asyncio

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import RequestPayloadError

from mmprod.serving.gateway.answers import Unanswered

_TOGETHER = 8  # bodies of the largest size that may be held at once


class Bodies:
    """Bodies of requests: each within `most` bytes and `seconds`, all that are held within 8 times `most`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._held = 0

    async def read(self, request: web.BaseRequest) -> bytes:
        """A request's body, which counts as held until it is dropped.

        Raises: Unanswered for one too large (413), too slow (408), broken off (400), compressed (415), or
        too much together with the others (503).
        """
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Unanswered(415, "bad_request", "the body is compressed: send it as it is", close=True)
        if (request.content_length or 0) > self._most:
            raise self._too_large()
        if "Expect" in request.headers:
            await _go_on(request)
        content = request.content
        if content.is_eof():  # it came with the headers, as most do
            body = content.read_nowait(-1)
            self._hold(len(body), len(body))
            return body
        return await self._read(request)

    def drop(self, body: bytes) -> None:
        """Count a body as gone."""
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
            raise _cut(error, self._seconds) from error
        return b"".join(pieces)

    def _hold(self, more: int, size: int) -> None:
        if size > self._most:
            raise self._too_large()
        if self._held + more > _TOGETHER * self._most:
            raise Unanswered(503, "overloaded", "too many large requests at once", close=True)
        self._held += more

    def _too_large(self) -> Unanswered:
        return Unanswered(413, "too_large", f"a body of over {self._most} bytes", close=True)


async def _go_on(request: web.BaseRequest) -> None:
    """Tell a client that asked first to send its body."""
    if request.headers["Expect"].lower() != "100-continue":
        raise Unanswered(417, "bad_request", "Expect may be 100-continue only", close=True)
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer nothing was sent yet


def _cut(error: BaseException, seconds: float) -> BaseException:
    if isinstance(error, TimeoutError):
        return Unanswered(408, "bad_request", f"the body took more than {seconds:g} s", close=True)
    if isinstance(error, RequestPayloadError):
        return Unanswered(400, "bad_request", f"the body is broken: {error}", close=True)
    return error
