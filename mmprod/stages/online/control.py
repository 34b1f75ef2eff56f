"""Asking the gateway through its socket, which only this user may open."""

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from mmprod.storage.errors import StateError

SOCKET = "control.sock"


def ask(
    folder: Path, method: str, path: str, content: dict[str, str] | None, patience: float
) -> dict[str, Any]:
    """What the gateway says whose files are in `folder`; `patience` in seconds.

    Raises: StateError where it doesn't answer, or refuses, with its reason.
    """
    connection = _Connection(folder, patience)
    try:
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StateError(f"the service doesn't answer: {error!r}; see {folder}/gateway.log") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise StateError(str(found.get("error", found)))
    return found


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, folder: Path, patience: float) -> None:
        super().__init__("gateway", timeout=patience)
        self._folder = folder

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:  # by the folder's number: the path of a socket may have no more than 107 bytes
            self.sock.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        finally:
            os.close(folder)
