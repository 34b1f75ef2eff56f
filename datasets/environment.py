"""One LMDB environment, opened so that a damaged file, a full map or a dead reader can't do harm.

LMDB maps its file into memory: reading past the end of a truncated file kills the process (SIGBUS). So the
writer extends the file (sparsely) to the size of the map before anything is committed, and opening compares
the file with the page count of its last commit.
"""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from mmprod.datasets.errors import StateError

FIRST_MAP = 1 << 26
"""Bytes of a new map. It doubles whenever it is full."""

_MAGIC = 0xBEEFC0DE
_META = struct.Struct("<16xII16xI92xQQ")  # magic, version, page size, last page, transaction id
_T = TypeVar("_T")


def open_environment(folder: Path, databases: int, read_only: bool) -> Any:
    """An LMDB environment with full sync. The reader slots of dead processes are freed.

    Raises: StateError when the file is missing, truncated or no LMDB file, or open in this process already.
    """
    file = folder / "data.mdb"
    if file.exists():
        check_length(file)
    elif read_only:
        raise StateError(f"{file}: no store here; ingest a day first or name the right folder")
    try:
        environment = lmdb.open(
            str(folder),
            map_size=FIRST_MAP,
            max_dbs=databases,
            readonly=read_only,
            lib_version=0,
        )
    except lmdb.Error as error:
        raise StateError(f"{folder}: can't be opened: {error}") from error
    environment.reader_check()
    if not read_only:
        extend(file, environment.info()["map_size"])
    return environment


def check_length(file: Path) -> None:
    """Raise StateError when an LMDB file is shorter than its last commit says."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        first = _meta(handle.read(_META.size))
        if not first:
            raise StateError(f"{file}: not an LMDB 0.9 data file ({size} bytes); restore it from a copy")
        handle.seek(first[2])
        metas = [first, _meta(handle.read(_META.size)) or first]
    _, _, page, last, _ = max(metas, key=lambda meta: meta[4])
    if size < (last + 1) * page:
        raise StateError(
            f"{file} is truncated: {size} bytes, its last commit has {(last + 1) * page}; restore it"
        )


def _meta(data: bytes) -> tuple[int, int, int, int, int] | None:
    if len(data) < _META.size:
        return None
    magic, kind, page, last, transaction = _META.unpack(data)
    return (magic, kind, page, last, transaction) if (magic, kind) == (_MAGIC, 1) else None


def extend(file: Path, size: int) -> None:
    """Make `file` at least `size` bytes long, without using disk space for it."""
    if file.stat().st_size < size:
        os.truncate(file, size)


def reading(environment: Any, work: Callable[[Any], _T]) -> _T:
    """`work` in a short read transaction. A map that the writer has grown meanwhile is taken over."""
    try:
        transaction = environment.begin()
    except lmdb.MapResizedError:
        environment.set_mapsize(0)
        transaction = environment.begin()
    with transaction:
        return work(transaction)


def writing(environment: Any, work: Callable[[Any], None]) -> None:
    """`work` in a durable write transaction: all of it or nothing. A full map is grown and `work` repeated.

    Raises: OSError when the disk is full or fails; nothing of `work` is kept then.
    """
    while True:
        try:
            with environment.begin(write=True) as transaction:
                work(transaction)
            return
        except lmdb.MapFullError:
            size = environment.info()["map_size"] * 2
            environment.set_mapsize(size)
            extend(Path(environment.path()) / "data.mdb", size)
        except lmdb.Error as error:
            if type(error) not in (lmdb.Error, lmdb.DiskError):  # what LMDB itself objects to
                raise
            raise OSError(_disk_trouble(environment.path(), error)) from error


def _disk_trouble(path: str, error: lmdb.Error) -> str:
    free = shutil.disk_usage(path).free
    return f"{path}: {error}; {free:,} bytes are free on its disk; nothing of this batch is kept, run again"
