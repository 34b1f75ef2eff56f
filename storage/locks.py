"""File locks (flock). The kernel releases a lock when the process that holds it ends, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class HeldError(Exception):
    """Another process holds the lock; `holder` is its process id, or "unknown"."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by process {holder}")
        self.holder = holder


def hold(path: Path, *, shared: bool = False, wait: bool = True) -> int:
    """Lock a file until the returned file descriptor is closed or the process ends.

    Any number of processes may hold a `shared` lock at once; the file must exist. An exclusive lock excludes
    all others; the file is created if missing.
    Raises: BlockingIOError when another process holds it and `wait` is false; FileNotFoundError.
    """
    fd = os.open(path, os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def held(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[int]:
    """As `hold`, for the duration of the block."""
    fd = hold(path, shared=shared, wait=wait)
    try:
        yield fd
    finally:
        os.close(fd)


def hold_as_writer(path: Path, wait: bool = False) -> int:
    """As `hold`, and write this process's id to the file, so that other processes can name the holder.

    Raises: HeldError when another process holds the lock.
    """
    try:
        fd = hold(path, wait=wait)
    except BlockingIOError:
        raise HeldError(path, path.read_text(errors="replace")[:20] or "unknown") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd
