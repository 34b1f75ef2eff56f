"""Memory shared with a server on the same machine, so that pictures need not pass through a socket."""

import os
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Self

from mmprod.storage.errors import StateError

_FOLDER = Path("/dev/shm")
_LEAST = 65_536  # bytes of a tensor; for smaller ones it isn't worth it


class Region:
    """A region that carries one request at a time; it is gone from the machine when closed or at exit.

    Raises: StateError where there is no room for it, or no such memory.
    """

    def __init__(self, size: int) -> None:
        """`size`: bytes."""
        try:
            self._memory = SharedMemory(create=True, size=size)
            self._end = weakref.finalize(self, _remove, self._memory)
            _reserve(self._memory.name, size)
        except OSError as error:
            raise StateError(f"no shared memory of {size} bytes: {error}; ask for less") from error
        self.name, self.size = self._memory.name, size
        self._used = 0
        self._taken = threading.Lock()

    def take(self) -> Self | None:
        """The region for one request; None while another has it."""
        if not self._taken.acquire(blocking=False):
            return None
        self._used = 0
        return self

    def give_back(self) -> None:
        """Let the next request have it."""
        self._taken.release()

    def put(self, pieces: Sequence[bytes], size: int) -> dict[str, Any] | None:
        """Place a tensor's content after those before it; where it lies. None if small or without room."""
        if size < _LEAST or self._used + size > self.size:
            return None
        start = at = self._used
        memory = self._memory.buf
        assert memory is not None, "it is closed"
        for piece in pieces:
            memory[at : at + len(piece)] = piece
            at += len(piece)
        self._used = at
        lies = {"region": self.name, "byte_size": size, "offset": start}
        return {f"shared_memory_{name}": value for name, value in lies.items()}

    @property
    def registration(self) -> dict[str, Any]:
        """What a server has to be told of it."""
        return {"key": f"/{self.name}", "offset": 0, "byte_size": self.size}

    def path(self, what: str) -> str:
        """Where a server is told to "register" or to "unregister" it."""
        return f"/v2/systemsharedmemory/region/{self.name}/{what}"

    def unknown_to(self, status: int, body: bytes) -> bool:
        """Whether a server's answer is that it doesn't know this region."""
        return 400 <= status < 500 and f"region: '{self.name}'".encode() in body

    def close(self) -> None:
        """Take it off the machine; a server that reads in it still can, until it is told to forget it."""
        self._end()


def _reserve(name: str, size: int) -> None:
    """Claim its pages: writing to one that isn't there would end the process. Raises: OSError."""
    opened = os.open(_FOLDER / name, os.O_RDWR)
    try:
        os.posix_fallocate(opened, 0, size)
    finally:
        os.close(opened)


def _remove(memory: SharedMemory) -> None:
    memory.close()
    memory.unlink()
