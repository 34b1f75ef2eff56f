"""The HTTP servers for clients and for Prometheus: requests are checked and forwarded to Triton."""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Literal, NamedTuple

from aiohttp import ClientError, ClientSession, web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from mmprod.serving.errors import Refused
from mmprod.serving.gateway.backend import Backend, BackendSource
from mmprod.serving.gateway.connections import Connection, Listener
from mmprod.serving.gateway.errors import JSON, HttpError, bad_request, error_response
from mmprod.serving.gateway.metrics import Metrics
from mmprod.serving.gateway.request_body import BodyReader
from mmprod.serving.gateway.request_log import Record, RequestLog
from mmprod.serving.gateway.settings import Settings
from mmprod.serving.gateway.upstream import LENGTH, TritonResponse, forward, open_session
from mmprod.serving.gateway.validate import check_inference
from mmprod.serving.repository import MODELS, ModelSpec

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_METADATA = ("", "/config", "/stats", "/ready")  # of a model, by GET
_REGIONS = re.compile(r"/v2/systemsharedmemory(/region/[\w.-]{1,64})?/(status|register|unregister)", re.ASCII)
_BACKLOG = 1024
_CLIENT_GONE = 499  # in log and metrics: the client closed the connection before the response

logger = logging.getLogger(__name__)


class Route(NamedTuple):
    """A known path: the gateway's own health, an inference, or another request that is forwarded as it is."""

    method: str
    kind: Literal["live", "ready", "inference", "other"] = "other"
    model: ModelSpec | None = None


@asynccontextmanager
async def serving(settings: Settings, source: BackendSource) -> AsyncIterator[None]:
    """Serve clients at the settings' address, and Prometheus at its own, while entered.

    Raises: OSError if a port is taken.
    """
    metrics, log = Metrics(source), RequestLog(settings.folder, settings.log_share)
    async with open_session(settings.deadline) as session:
        proxy = Proxy(settings, source, session, metrics, log)
        clients = web.ServerRunner(Listener(proxy.answer, settings.body_seconds))
        scrapes = web.ServerRunner(
            Listener(MetricsPage(source, session, metrics).answer, settings.body_seconds)
        )
        try:
            for runner, port in ((clients, settings.port), (scrapes, settings.metrics_port)):
                await runner.setup()
                await web.TCPSite(runner, settings.host, port, backlog=_BACKLOG).start()
            yield
        finally:
            await clients.cleanup()
            await scrapes.cleanup()
            log.close()


class Proxy:
    """Answers every request: with Triton's response or with an error."""

    def __init__(
        self,
        settings: Settings,
        source: BackendSource,
        session: ClientSession,
        metrics: Metrics,
        log: RequestLog,
    ) -> None:
        self._settings, self._source, self._session = settings, source, session
        self._metrics, self._log = metrics, log
        self._bodies = BodyReader(settings.body_bytes, settings.body_seconds)
        self._routes = _routes()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, count and log a request."""
        started = perf_counter()
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.headers_received()
        client_id = request.headers.get("X-Request-Id", "")
        record = Record(client_id if _ID.fullmatch(client_id) else secrets.token_hex(8), request.remote or "")
        with self._metrics.in_flight.track_inprogress():
            response = await self._answer(request, record)
            await self._send(request, response, record)
        record.seconds = perf_counter() - started
        self._metrics.count(record)
        self._log.write(record)
        return response

    async def _send(self, request: web.BaseRequest, response: web.Response, record: Record) -> None:
        """Send a response; a client that doesn't read it in time is disconnected."""
        record.status, record.bytes_out = response.status, response.content_length or 0
        headers = {"X-Request-Id": record.id, "X-Content-Type-Options": "nosniff", "Server": "mmprod"}
        if record.release:
            headers["X-Mmprod-Release"] = record.release
        response.headers.update(headers)
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                await response.prepare(request)
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            record.status, record.error = _CLIENT_GONE, "gone"
            if request.transport is not None:
                request.transport.abort()

    async def _answer(self, request: web.BaseRequest, record: Record) -> web.Response:
        current = self._source.current
        record.release = current.release if current else ""
        try:
            return await self._route(request, record)
        except Refused as refused:
            error = bad_request(refused)
        except HttpError as raised:
            error = raised
        except ConnectionError:
            error = HttpError(_CLIENT_GONE, "gone", "the client closed the connection", close=True)
        except Exception:
            logger.exception("a request failed")
            error = HttpError(500, "failed", "the gateway failed; see its log", close=True)
        if error.probe:
            self._source.probe_soon()
        record.error = error.code
        return error_response(error)

    async def _route(self, request: web.BaseRequest, record: Record) -> web.Response:
        path = request.raw_path.partition("?")[0]
        route = self._routes.get(path) or self._region(path)
        if route is None:
            raise HttpError(404, "bad_request", f"there is no {path[:100]}")
        record.model = route.model.name if route.model else ""
        if request.method != route.method:
            raise HttpError(405, "bad_request", f"{request.method} of {path}, want {route.method}")
        if route.kind == "ready" and not (self._source.ready and self._source.current):
            raise HttpError(503, "unavailable", "no server answers its probe correctly yet")
        if route.kind in ("live", "ready"):
            return web.Response()
        return await self._forward(request, route, path, record)

    def _region(self, path: str) -> Route | None:
        """The route of requests for shared memory regions, if these are allowed."""
        found = _REGIONS.fullmatch(path) if self._settings.shared_memory else None
        return found and Route("GET" if found[2] == "status" else "POST")

    def _backend(self, model: ModelSpec | None) -> Backend:
        """The server for a request. Raises: HttpError, 503."""
        current = self._source.current
        if current is None:
            raise HttpError(503, "unavailable", "no server is running yet")
        if current.in_flight >= self._settings.requests:
            raise HttpError(503, "overloaded", f"{current.in_flight} requests are in flight")
        if model and model.name in current.lost:
            raise HttpError(503, "unavailable", "the model is being restarted")
        return current

    async def _forward(
        self, request: web.BaseRequest, route: Route, path: str, record: Record
    ) -> web.Response:
        """Check a request and forward it to Triton."""
        self._backend(route.model)  # without a free server the body is not read
        body = await self._bodies.read(request)
        record.bytes_in = len(body)
        try:
            length, timeout = _single_header(request, LENGTH), None
            if route.kind == "inference" and route.model:
                timeout = check_inference(route.model, body, length, self._settings.shared_memory)
            backend = self._backend(route.model)
            record.release = backend.release
            with backend.using():
                response = await forward(self._session, backend, route.method, path, body, length, timeout)
        finally:
            self._bodies.release(body)
        return _web_response(response)


class MetricsPage:
    """The page for Prometheus: the gateway's metrics, then those of the current Triton server.

    Triton's address changes with each reload; this page's address does not.
    """

    def __init__(self, source: BackendSource, session: ClientSession, metrics: Metrics) -> None:
        self._source, self._session, self._metrics = source, session, metrics

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """GET /metrics."""
        if request.method != "GET" or request.path != "/metrics":
            return error_response(HttpError(404, "bad_request", "there is only /metrics"))
        page = self._metrics.page() + await self._triton_metrics()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _triton_metrics(self) -> bytes:
        backend = self._source.current
        if backend is None:
            return b""
        try:
            async with self._session.get(f"http://{backend.metrics_address}/metrics") as response:
                return await response.read()
        except (ClientError, OSError):  # the server has just ended
            return b""


def _routes() -> dict[str, Route]:
    routes = {
        "/v2": Route("GET"),
        "/v2/health/live": Route("GET", "live"),
        "/v2/health/ready": Route("GET", "ready"),
    }
    for model in MODELS:
        for path in (f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/1"):
            routes |= {path + suffix: Route("GET", "other", model) for suffix in _METADATA}
            routes[f"{path}/infer"] = Route("POST", "inference", model)
    return routes


def _single_header(request: web.BaseRequest, name: str) -> str | None:
    """A header's value, None if it is missing. Raises: Refused if it occurs more than once."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise Refused("bad_request", f"the header {name} occurs {len(values)} times")
    return values[0] if values else None


def _web_response(triton: TritonResponse) -> web.Response:
    response = web.Response(body=triton.body)
    response.headers["Content-Type"] = triton.kind or JSON
    if triton.json_length:
        response.headers[LENGTH] = triton.json_length
    return response
