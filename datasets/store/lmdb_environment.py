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

from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder, sync_file, sync_tree
from mmprod.storage.room import NoRoom

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
    else:
        _make(folder)
    environment = _opened(folder, databases, read_only)
    environment.reader_check()
    if not read_only:
        extend(file, environment.info()["map_size"])
    return environment


def _make(folder: Path) -> None:
    """A new environment, whole or not at all: LMDB takes no file that a full disk or a kill has cut short."""
    make_folder(folder.parent)
    (folder / "lock.mdb").unlink(missing_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*"):  # by writers that died
        shutil.rmtree(left)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        _opened(aside, 0, False).close()
        sync_tree(aside)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync_file(folder.parent)


def _opened(folder: Path, databases: int, read_only: bool) -> Any:
    try:
        return lmdb.open(
            str(folder),
            map_size=FIRST_MAP,
            max_dbs=databases,
            readonly=read_only,
            lib_version=0,
        )
    except lmdb.Error as error:
        if of_the_disk(error):
            raise NoRoom("a new store", folder.parent, str(error)) from error
        raise StateError(f"{folder}: can't be opened: {error}") from error


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
    """`work` in a short read transaction. A map that the writer has grown meanwhile is taken over.

    Raises: StateError, naming the file, where LMDB finds that its pages can't be what was written.
    """
    try:
        try:
            transaction = environment.begin()
        except lmdb.MapResizedError:
            environment.set_mapsize(0)
            transaction = environment.begin()
        with transaction:
            return work(transaction)
    except lmdb.Error as error:
        raise StateError(
            f"{environment.path()}/data.mdb can't be read: {error}; run `mmprod store verify`, then restore "
            "the store from a copy or ingest its days anew"
        ) from error


def writing(environment: Any, work: Callable[[Any], None], size: int = 0) -> None:
    """`work` in a durable write transaction: all of it or nothing. A full map is grown and `work` repeated.

    `size`: bytes that it writes, about, for the message. Raises: NoRoom, an OSError, when the disk is full or
    fails; nothing of `work` is kept then.
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
            if not of_the_disk(error):
                raise
            raise NoRoom("a batch", Path(environment.path()), str(error), size) from error


def of_the_disk(error: Exception) -> bool:
    """Rather than what LMDB itself objects to. On a full disk it may tell of EIO: a page was cut short."""
    return type(error) in (lmdb.Error, lmdb.DiskError)
