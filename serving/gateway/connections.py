"""The gateway's side towards clients: aiohttp's HTTP server with bounds on connections and their heads."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from mmprod.serving.gateway.answers import Unanswered, failure

_MOST = 4096  # connections
_SPARE = 0.5  # of the files that the process may open, for connections to Triton and all else
_IDLE = 75.0  # seconds that a connection is kept without a request

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener(web.Server):
    """Gives each connection a `Connection`, and closes those that are too many."""

    def __init__(self, handler: Handler, head_seconds: float) -> None:
        """`head_seconds`: from the start of a connection until its first request's headers are there."""
        super().__init__(
            handler,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_IDLE,
            lingering_time=2.0,
            read_bufsize=2**18,
        )
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.head_seconds, self._most = head_seconds, min(_MOST, int(files * _SPARE))

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            transport.abort()


class Connection(RequestHandler):
    """A client's connection. Tells of requests that are no HTTP as of all others, in JSON."""

    __slots__ = ("_head",)

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(listener, **options)
        self._head = self._loop.call_later(listener.head_seconds, self.force_close)

    def begun(self) -> None:
        """The headers of a request are there."""
        self._head.cancel()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return failure(Unanswered(status, "bad_request", message or "no HTTP", close=True))
