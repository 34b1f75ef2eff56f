"""Opening LMDB environments, with protection against truncated files, full maps and dead readers.

LMDB maps its file into memory: reading past the end of a truncated file kills the process (SIGBUS). So the
writer extends the file (sparsely) to the size of the map before any commit, and opening compares the file's
length with the page count of its last commit.
"""

import os
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import lmdb

from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder, sync_file, sync_tree
from mmprod.storage.room import NoRoom

FIRST_MAP = 1 << 26
"""Bytes of a new map. The map doubles whenever it is full."""

_MAGIC = 0xBEEFC0DE
_META = struct.Struct("<16xII16xI92xQQ")  # magic, version, page size, last page, transaction id
_T = TypeVar("_T")


class _Reads:
    """Counts the read transactions under way in this process.

    A map that the writer has grown may be remapped only while there are none: it can move in memory.
    """

    def __init__(self) -> None:
        self._changed, self._count = threading.Condition(), 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold for the duration of a read transaction."""
        with self._changed:
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    @contextmanager
    def none(self) -> Iterator[None]:
        """Hold while a map is replaced: waits until no read transaction is under way, and lets none begin."""
        with self._changed:
            self._changed.wait_for(lambda: not self._count)
            yield


_reads = _Reads()
_readers: WeakValueDictionary[tuple[int, int, int], Any] = WeakValueDictionary()
"""Environments open for reading, by process, device and inode. LMDB allows a process to open a file only
once."""
_users: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""How many have each of them open. One that nobody refers to any more is closed by the garbage collector."""
_opening = threading.Lock()


def open_environment(folder: Path, databases: int, read_only: bool) -> Any:
    """Open an LMDB environment with full sync; close it with `close_environment`.

    Readers of one process share an environment. The reader slots of dead processes are freed.
    Raises: StateError when the file is missing, truncated or no LMDB file, or when this process has it open
    already and not both are readers.
    """
    if not read_only or not (folder / "data.mdb").exists():
        return _open(folder, databases, read_only)
    with _opening:
        key = _key(folder)
        environment = _readers.get(key)
        if environment is None or environment not in _users:
            _readers[key] = environment = _open(folder, databases, read_only)
        _users[environment] = _users.get(environment, 0) + 1
        return environment


def close_environment(environment: Any) -> None:
    """Close an environment once its last user in this process has closed it."""
    with _opening:
        left = _users.pop(environment, 1) - 1
        if left:
            _users[environment] = left
        else:
            environment.close()


def _key(folder: Path) -> tuple[int, int, int]:
    found = (folder / "data.mdb").stat()
    return os.getpid(), found.st_dev, found.st_ino


def _open(folder: Path, databases: int, read_only: bool) -> Any:
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
    """Create an environment atomically: LMDB can't open a file that a full disk or a kill left incomplete."""
    make_folder(folder.parent)
    (folder / "lock.mdb").unlink(missing_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*"):  # left by writers that died
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
        if "already open" in str(error):
            raise StateError(f"{folder} is open in this process already: close that store first") from error
        if of_the_disk(error):
            raise NoRoom("a new store", folder.parent, str(error)) from error
        raise StateError(f"{folder}: can't be opened: {error}") from error


def check_length(file: Path) -> None:
    """Raise StateError when an LMDB file is shorter than its last commit requires."""
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
    """Make `file` at least `size` bytes long, sparsely: no disk space is used."""
    if file.stat().st_size < size:
        os.truncate(file, size)


def reading(environment: Any, work: Callable[[Any], _T]) -> _T:
    """Run `work` in a short read transaction; remap first if the writer has grown the map meanwhile.

    Raises: StateError, naming the file, when LMDB detects damaged pages.
    """
    try:
        try:
            with _reads.one(), environment.begin() as transaction:
                return work(transaction)
        except lmdb.MapResizedError:
            with _reads.none():
                environment.set_mapsize(0)
        with _reads.one(), environment.begin() as transaction:
            return work(transaction)
    except lmdb.Error as error:
        raise StateError(
            f"{environment.path()}/data.mdb can't be read: {error}; run `mmprod store verify`, then restore "
            "the store from a copy or ingest its days anew"
        ) from error


def writing(environment: Any, work: Callable[[Any], None], size: int = 0) -> None:
    """Run `work` in one durable write transaction, all or nothing. A full map is grown and `work` repeated.

    `size`: bytes that it writes, roughly, for the message. Raises: NoRoom, an OSError, when the disk is full
    or fails; nothing of `work` is kept then.
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
        except lmdb.MapResizedError:  # by another process of the same run
            with _reads.none():
                environment.set_mapsize(0)
        except lmdb.Error as error:
            if not of_the_disk(error):
                raise
            raise NoRoom("a batch", Path(environment.path()), str(error), size) from error


def of_the_disk(error: Exception) -> bool:
    """Whether the disk caused an LMDB error. A full disk can appear as EIO, when a page was cut short."""
    return type(error) in (lmdb.Error, lmdb.DiskError)
