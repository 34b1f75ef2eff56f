"""The address that clients talk to: requests looked through, passed on, and their answers passed back."""

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

from mmprod.serving.gateway.answers import JSON, Unanswered, failure, refusal
from mmprod.serving.gateway.backend import Backend, Source
from mmprod.serving.gateway.bodies import Bodies
from mmprod.serving.gateway.connections import Connection, Listener
from mmprod.serving.gateway.metrics import Metrics
from mmprod.serving.gateway.requestlog import Record, RequestLog
from mmprod.serving.gateway.settings import Settings
from mmprod.serving.gateway.upstream import LENGTH, Answer, ask, open_session
from mmprod.serving.gateway.validate import check_inference
from mmprod.serving.refused import Refused
from mmprod.serving.repository import MODELS, Model

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_ASKS = ("", "/config", "/stats", "/ready")  # about a model, by GET
_REGIONS = re.compile(r"/v2/systemsharedmemory(/region/[\w.-]{1,64})?/(status|register|unregister)", re.ASCII)
_BACKLOG = 1024
_GONE = 499  # in log and metrics: the client didn't wait for its answer

logger = logging.getLogger(__name__)


class Route(NamedTuple):
    """What a path is for: the gateway's own health, a question passed on, or an inference of a model."""

    method: str
    kind: Literal["live", "ready", "question", "inference"] = "question"
    model: Model | None = None


@asynccontextmanager
async def serving(settings: Settings, source: Source) -> AsyncIterator[None]:
    """Answer clients at the settings' address, and Prometheus at its own, until left.

    Raises: OSError where an address can't be had.
    """
    metrics, log = Metrics(source), RequestLog(settings.folder, settings.log_share)
    async with open_session(settings.deadline) as session:
        proxy = Proxy(settings, source, session, metrics, log)
        clients = web.ServerRunner(Listener(proxy.answer, settings.body_seconds))
        scrapes = web.ServerRunner(Listener(Scrapes(source, session, metrics).answer, settings.body_seconds))
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
    """Answers every request: by a model, or with a reason why not."""

    def __init__(
        self, settings: Settings, source: Source, session: ClientSession, metrics: Metrics, log: RequestLog
    ) -> None:
        self._settings, self._source, self._session = settings, source, session
        self._metrics, self._log = metrics, log
        self._bodies = Bodies(settings.body_bytes, settings.body_seconds)
        self._routes = _routes()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, which is counted and written down."""
        started = perf_counter()
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.begun()
        given = request.headers.get("X-Request-Id", "")
        record = Record(given if _ID.fullmatch(given) else secrets.token_hex(8), request.remote or "")
        with self._metrics.in_flight.track_inprogress():
            response = await self._answer(request, record)
            await self._send(request, response, record)
        record.seconds = perf_counter() - started
        self._metrics.count(record)
        self._log.write(record)
        return response

    async def _send(self, request: web.BaseRequest, response: web.Response, record: Record) -> None:
        """Send an answer; a client that doesn't take it in time is cut off."""
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
            record.status, record.error = _GONE, "gone"
            if request.transport is not None:
                request.transport.abort()

    async def _answer(self, request: web.BaseRequest, record: Record) -> web.Response:
        current = self._source.current
        record.release = current.release if current else ""
        try:
            return await self._route(request, record)
        except Refused as refused:
            unanswered = refusal(refused)
        except Unanswered as error:
            unanswered = error
        except ConnectionError:
            unanswered = Unanswered(_GONE, "gone", "the client went away", close=True)
        except Exception:
            logger.exception("a request failed")
            unanswered = Unanswered(500, "failed", "the gateway failed; its log has more", close=True)
        if unanswered.suspicious:
            self._source.suspect()
        record.error = unanswered.code
        return failure(unanswered)

    async def _route(self, request: web.BaseRequest, record: Record) -> web.Response:
        path = request.raw_path.partition("?")[0]
        route = self._routes.get(path) or self._region(path)
        if route is None:
            raise Unanswered(404, "bad_request", f"there is no {path[:100]}")
        record.model = route.model.name if route.model else ""
        if request.method != route.method:
            raise Unanswered(405, "bad_request", f"{request.method} of {path}, want {route.method}")
        if route.kind == "ready" and not (self._source.ready and self._source.current):
            raise Unanswered(503, "unavailable", "no server answers rightly yet")
        if route.kind in ("live", "ready"):
            return web.Response()
        return await self._pass(request, route, path, record)

    def _region(self, path: str) -> Route | None:
        """Regions of shared memory, where they are allowed."""
        found = _REGIONS.fullmatch(path) if self._settings.shared_memory else None
        return found and Route("GET" if found[2] == "status" else "POST")

    def _backend(self, model: Model | None) -> Backend:
        current = self._source.current
        if current is None:
            raise Unanswered(503, "unavailable", "no server is there yet")
        if current.in_flight >= self._settings.requests:
            raise Unanswered(503, "overloaded", f"{current.in_flight} requests are in flight")
        if model and model.name in current.lost:
            raise Unanswered(503, "unavailable", "the model is being started again")
        return current

    async def _pass(self, request: web.BaseRequest, route: Route, path: str, record: Record) -> web.Response:
        """Have Triton answer what a model, or nothing, is the matter with."""
        self._backend(route.model)  # where there is none, or it has enough to do, nothing is read
        body = await self._bodies.read(request)
        record.bytes_in = len(body)
        try:
            length, given = _single(request, LENGTH), None
            if route.kind == "inference" and route.model:
                given = check_inference(route.model, body, length, self._settings.shared_memory)
            backend = self._backend(route.model)
            record.release = backend.release
            with backend.using():
                answer = await ask(self._session, backend, route.method, path, body, length, given)
        finally:
            self._bodies.drop(body)
        return _response(answer)


class Scrapes:
    """The page for Prometheus: the gateway's numbers, then those of the server that answers now."""

    def __init__(self, source: Source, session: ClientSession, metrics: Metrics) -> None:
        self._source, self._session, self._metrics = source, session, metrics

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """GET /metrics."""
        if request.method != "GET" or request.path != "/metrics":
            return failure(Unanswered(404, "bad_request", "there is /metrics only"))
        page = self._metrics.page() + await self._tritons()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _tritons(self) -> bytes:
        backend = self._source.current
        if backend is None:
            return b""
        try:
            async with self._session.get(f"http://{backend.metrics_address}/metrics") as response:
                return await response.read()
        except (ClientError, OSError):  # it ended just now
            return b""


def _routes() -> dict[str, Route]:
    found = {
        "/v2": Route("GET"),
        "/v2/health/live": Route("GET", "live"),
        "/v2/health/ready": Route("GET", "ready"),
    }
    for model in MODELS:
        for path in (f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/1"):
            found |= {path + asked: Route("GET", "question", model) for asked in _ASKS}
            found[f"{path}/infer"] = Route("POST", "inference", model)
    return found


def _single(request: web.BaseRequest, name: str) -> str | None:
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise Refused("bad_request", f"{name} is there {len(values)} times")
    return values[0] if values else None


def _response(answer: Answer) -> web.Response:
    response = web.Response(body=answer.body)
    response.headers["Content-Type"] = answer.kind or JSON
    if answer.json_length:
        response.headers[LENGTH] = answer.json_length
    return response
