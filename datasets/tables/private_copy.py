"""Private copies of small files, so that repeated reads give the same bytes even if others write to them."""

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
    """A file changed while it was read; a later attempt may succeed."""


@dataclass(frozen=True)
class PrivateCopy:
    """A copy of `origin` at `path`, where no other process writes. Its text, for messages, is `origin`."""

    origin: Path
    path: Path
    sha256: str  # hex

    def __str__(self) -> str:
        return str(self.origin)


@contextlib.contextmanager
def private_copy(origin: Path, max_bytes: int) -> Iterator[PrivateCopy]:
    """A copy of a file of 1 to `max_bytes` bytes in the temporary folder, for the duration of the block.

    Raises: InputError for a missing file, an empty one and one over the limit; ChangedError when the file was
    written to or replaced while it was copied.
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
            raise ChangedError(f"{origin} changed while it was read: hand it in when it is complete")
        yield PrivateCopy(origin, Path(target.name), digest)


def _copy(source: BinaryIO, target: "tempfile._TemporaryFileWrapper[bytes]", most: int) -> tuple[int, str]:
    """Copy until the end or until at least `most` bytes; returns the bytes copied and their hex sha256."""
    digest, copied = hashlib.sha256(), 0
    for piece in iter(partial(source.read, _PIECE), b""):
        target.write(piece)
        digest.update(piece)
        copied += len(piece)
        if copied >= most:
            break
    target.flush()
    return copied, digest.hexdigest()
