"""Memory shared with a server on the same machine, so that pictures are not copied through a socket."""

import os
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Self

from mmprod.storage.errors import StateError

_FOLDER = Path("/dev/shm")
_LEAST = 65_536  # bytes of a tensor; smaller ones are faster in the body


class Region:
    """A shared memory region for one request at a time; removed from the machine when closed or at exit."""

    def __init__(self, size: int) -> None:
        """`size`: bytes. Raises: StateError if there is no shared memory or not enough of it."""
        try:
            self._memory = SharedMemory(create=True, size=size)
            self._end = weakref.finalize(self, _remove, self._memory)
            _reserve(self._memory.name, size)
        except OSError as error:
            raise StateError(f"no shared memory of {size} bytes: {error}; ask for less") from error
        self.name, self.size = self._memory.name, size
        self._used = 0
        self._in_use = threading.Lock()

    def take(self) -> Self | None:
        """The region, for one request; None while another request has it."""
        if not self._in_use.acquire(blocking=False):
            return None
        self._used = 0
        return self

    def give_back(self) -> None:
        """Make the region available to the next request."""
        self._in_use.release()

    def put(self, pieces: Sequence[bytes], size: int) -> dict[str, Any] | None:
        """Append a tensor's content; its parameters in the request. None if it is small or doesn't fit."""
        if size < _LEAST or self._used + size > self.size:
            return None
        start = at = self._used
        memory = self._memory.buf
        assert memory is not None, "the region is closed"
        for piece in pieces:
            memory[at : at + len(piece)] = piece
            at += len(piece)
        self._used = at
        location = {"region": self.name, "byte_size": size, "offset": start}
        return {f"shared_memory_{name}": value for name, value in location.items()}

    @property
    def registration(self) -> dict[str, Any]:
        """The content of the request that registers it with a server."""
        return {"key": f"/{self.name}", "offset": 0, "byte_size": self.size}

    def path(self, action: str) -> str:
        """The path of the requests that "register" or "unregister" it."""
        return f"/v2/systemsharedmemory/region/{self.name}/{action}"

    def unknown_to(self, status: int, body: bytes) -> bool:
        """Whether a server's response says that it doesn't know this region."""
        return 400 <= status < 500 and f"region: '{self.name}'".encode() in body

    def close(self) -> None:
        """Remove it from the machine; a server can still read it until it is unregistered there."""
        self._end()


def _reserve(name: str, size: int) -> None:
    """Reserve its pages: writing to a page that can't be had would kill the process. Raises: OSError."""
    descriptor = os.open(_FOLDER / name, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def _remove(memory: SharedMemory) -> None:
    memory.close()
    memory.unlink()
