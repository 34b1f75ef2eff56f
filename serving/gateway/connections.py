"""Connections from clients: aiohttp's HTTP server with limits on their number and on the time for headers."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from mmprod.serving.gateway.errors import HttpError, error_response

_MOST = 4096  # connections
_SHARE = 0.5  # of the files that the process may open; the rest is for connections to Triton and for files
_IDLE = 75.0  # seconds that a connection is kept without a request

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener(web.Server):
    """Makes a `Connection` for each client, and closes connections above the limit."""

    def __init__(self, handler: Handler, head_seconds: float) -> None:
        """`head_seconds`: from the start of a connection until its first request's headers are complete."""
        super().__init__(
            handler,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_IDLE,
            lingering_time=2.0,
            read_bufsize=2**18,
        )
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.head_seconds, self._most = head_seconds, min(_MOST, int(files * _SHARE))

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            transport.abort()


class Connection(RequestHandler):
    """A client's connection. Data that is not HTTP gets an error response in JSON, as all other errors do."""

    __slots__ = ("_head_timer",)

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(listener, **options)
        self._head_timer = self._loop.call_later(listener.head_seconds, self.force_close)

    def headers_received(self) -> None:
        """Stop the time limit: the headers of a request are complete."""
        self._head_timer.cancel()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return error_response(HttpError(status, "bad_request", message or "not HTTP", close=True))
