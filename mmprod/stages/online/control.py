"""Requests to the gateway's control socket, which only its user can open."""

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from mmprod.storage.errors import StateError

SOCKET = "control.sock"


def call(
    folder: Path, method: str, path: str, content: dict[str, str] | None, timeout: float
) -> dict[str, Any]:
    """Send a request to the gateway that runs in `folder`; its answer. `timeout` in seconds.

    Raises: StateError if the gateway doesn't answer, or with its reason if it refuses the request.
    """
    connection = _Connection(folder, timeout)
    try:
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StateError(f"the service doesn't answer: {error!r}; see {folder}/gateway.log") from error
    finally:
        connection.close()
    if response.status != 200:
        raise StateError(str(answer.get("error", answer)))
    return answer


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, folder: Path, timeout: float) -> None:
        super().__init__("gateway", timeout=timeout)
        self._folder = folder

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:  # by the folder's descriptor: a socket's path can have at most 107 bytes
            self.sock.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
        finally:
            os.close(descriptor)
