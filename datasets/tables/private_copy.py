"""A small file as it was at one moment: who reads it more than once must read the same each time."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mmprod.datasets.tables.snapshot import Standing
from mmprod.storage.errors import InputError

_PIECE = 1 << 20


class ChangedError(InputError):
    """A file changed while it was read; it may be whole another time."""


@dataclass(frozen=True)
class PrivateCopy:
    """The bytes of `origin`, at `path`, where nobody else writes. Messages name `origin`, its text."""

    origin: Path
    path: Path
    sha256: str  # hex

    def __str__(self) -> str:
        return str(self.origin)


@contextlib.contextmanager
def private_copy(origin: Path, max_bytes: int) -> Iterator[PrivateCopy]:
    """A copy of a file of 1 to `max_bytes` bytes, in the folder for temporary files, until the block ends.

    Raises: InputError for no such file, an empty one and one over the limit; ChangedError where it was
    written to or replaced meanwhile.
    """
    size = origin.stat().st_size if origin.is_file() else 0
    if not size:
        raise InputError(f"{origin}: {'the file is empty' if origin.is_file() else 'no such file'}")
    if size > max_bytes:
        raise InputError(f"{origin} has {size} bytes, the limit is {max_bytes}: split it")
    with tempfile.NamedTemporaryFile(prefix="mmprod-") as target:
        with origin.open("rb") as source:
            before = os.fstat(source.fileno())
            copied, digest = _copy(source, target, before.st_size + 1)
            now = origin.stat() if origin.is_file() else None
        if now is None or copied != before.st_size or Standing.of(before) != Standing.of(now):
            raise ChangedError(f"{origin} changed while it was read: hand it in when it is whole")
        yield PrivateCopy(origin, Path(target.name), digest)


def _copy(source: BinaryIO, target: "tempfile._TemporaryFileWrapper[bytes]", most: int) -> tuple[int, str]:
    """How many bytes were copied, at most `most` and what a read gives beyond, and their hex sha256."""
    digest, copied = hashlib.sha256(), 0
    for piece in iter(partial(source.read, _PIECE), b""):
        target.write(piece)
        digest.update(piece)
        copied += len(piece)
        if copied >= most:
            break
    target.flush()
    return copied, digest.hexdigest()
