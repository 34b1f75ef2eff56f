"""The gateway's control interface: HTTP on a socket in its folder, for processes of the same user."""

import asyncio
import os
import socket
from pathlib import Path

from aiohttp import web

from mmprod.serving.gateway.supervisor import Supervisor
from mmprod.storage.errors import StateError

SOCKET = "control.sock"


def control(supervisor: Supervisor, stopping: asyncio.Event) -> web.Application:
    """GET /status, POST /reload {"release": folder}, POST /stop. Errors: 400 or 409, {"error": reason}."""

    async def status(_: web.Request) -> web.Response:
        return web.json_response(_status(supervisor))

    async def reload(request: web.Request) -> web.Response:
        try:
            release = Path((await request.json())["release"])
        except (ValueError, TypeError, KeyError) as error:
            return web.json_response({"error": f'want {{"release": folder}}: {error!r}'}, status=400)
        try:
            await supervisor.reload(release)
        except StateError as error:
            return web.json_response({"error": str(error)}, status=409)
        return web.json_response({"release": release.name, "checked": supervisor.checked})

    async def stop(_: web.Request) -> web.Response:
        stopping.set()
        return web.json_response({})

    app = web.Application()
    app.add_routes([web.get("/status", status), web.post("/reload", reload), web.post("/stop", stop)])
    return app


def listen(folder: Path) -> socket.socket:
    """Listen on the socket in a folder; only its owner can connect."""
    (folder / SOCKET).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    mask = os.umask(0o177)
    try:  # by the folder's descriptor: a socket's path can have at most 107 bytes
        listening.bind(f"/proc/self/fd/{descriptor}/{SOCKET}")
    finally:
        os.umask(mask)
        os.close(descriptor)
    listening.listen()
    return listening


def _status(supervisor: Supervisor) -> dict[str, object]:
    server = supervisor.current
    return {
        "release": server.release if server else None,
        "ready": supervisor.ready,
        "complaint": supervisor.complaint,
        "refused": supervisor.refused,
        "triton": server.pid if server else None,
        "triton_address": server.address if server else None,
        "in_flight": server.in_flight if server else 0,
        "checked": supervisor.checked,
        "counts": dict(supervisor.counts),
    }
