"""The folder that label files are dropped into: only whole files are taken, and each exactly once.

    inbox/answers.csv                 dropped by a reviewer; left alone while it may still be uploading
    inbox/taken/NAME                  claimed; what a run that died was working on is there still
    inbox/done/NAME                   read; the file as it came
    inbox/returned/NAME.rejected.csv  rows of it that don't count, for whoever handed it in
    inbox/refused/NAME                no label file at all, or one that reading failed at twice
    inbox/returned/NAME.why.txt       why, for whoever handed it in; beside the file, too

NAME is chosen here: the time, a random part, and what is harmless of the name it had.
"""

import contextlib
import fcntl
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mmprod.datasets.tables.private_copy import ChangedError
from mmprod.eval.labels.workbook import whole_zip
from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder, replace_file, sha256_file, sync_file

logger = logging.getLogger(__name__)

TAKEN, DONE, RETURNED, REFUSED = "taken", "done", "returned", "refused"
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp")
_DEATHS = 3  # of runs in the middle of a file, after which it waits until the others have been read
_NAME_BYTES = 120  # of the name it had; a file system allows 255 in all

_State = tuple[int, tuple[int, int], int]  # time of last change, device and inode, size


@dataclass(frozen=True)
class Taken:
    """A file that has been claimed: `path` is where it lies until it is finished or refused."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def inbox(self) -> Path:
        return self.path.parent.parent


def take(folder: Path, settle: float) -> Iterator[Taken]:
    """Claim the whole files of `folder`, and give them with those a run that died had claimed, oldest first.

    Whole is a file that `settle` seconds have not changed, whose name is neither hidden nor one of a
    download or of an open document, that no process known to /proc has open for writing and, if it is a
    workbook, whose zip has its end. Others stay where they are. Each file is to be given to `finish` or
    `refuse`; one that is given to neither comes again the next time, and after the others where a few runs
    have died in the middle of it. Links are refused here.
    Raises: StateError while another process takes files from this folder.
    """
    for name in (TAKEN, DONE, RETURNED, REFUSED):
        make_folder(folder / name)
    with _alone(folder / TAKEN):
        for path in _settled(folder, settle):
            _claim(path, folder / TAKEN)
        for file in sorted(_claimed(folder), key=lambda file: (_deaths(file) >= _DEATHS, file.name)):
            if file.path.is_symlink():
                refuse(file, "a link: copy the file itself here")
            else:
                with _note(file, "begun").open("a") as begun:
                    begun.write(".")
                yield file


def arrivals(folder: Path, every: float = 1.0) -> Iterator[None]:
    """Each time there is a file that `take` may give; looks `every` so many seconds, for ever."""
    while True:
        for place in (folder / TAKEN, folder):
            if place.is_dir() and any(_state(path) for path in place.iterdir()):
                yield
                break
        time.sleep(every)


def finish(file: Taken, rejected: Path | None = None, sha256: str | None = None) -> Path:
    """Put a file away that has been read; `rejected`, a CSV of its rejected rows, is given back beside it.

    Where the original is now. To be called after what the file says is safe: a run that dies before
    this takes the file again.
    Raises: ChangedError where the file no longer has the content that was read; it comes again.
    """
    if sha256 and sha256_file(file.path) != sha256:
        _note(file, "begun").unlink(missing_ok=True)
        raise ChangedError(f"{file.path} was written to after it had been read")
    if rejected:
        replace_file(file.inbox / RETURNED / f"{file.name}.rejected.csv", rejected.read_bytes())
    return _move(file, DONE)


def refuse(file: Taken, why: str) -> Path:
    """Put a file away that can't be read at all, and say why: beside it and to whoever handed it in.

    Where it is now.
    """
    for place in (RETURNED, REFUSED):
        replace_file(file.inbox / place / f"{file.name}.why.txt", why.rstrip() + "\n")
    return _move(file, REFUSED)


def fail(file: Taken, why: str) -> None:
    """Leave a file for the next time that reading failed at, if it is the first time; else refuse it."""
    failed = _note(file, "failed")
    if failed.exists():
        refuse(file, f"{why}; the time before: {failed.read_text()}")
    else:
        _note(file, "begun").unlink(missing_ok=True)
        replace_file(failed, why)


def _claimed(folder: Path) -> list[Taken]:
    return [Taken(path) for path in (folder / TAKEN).iterdir() if not _hidden(path)]


def _note(file: Taken, what: str) -> Path:
    """Where it is noted that a file was begun, or failed at; gone when the file is put away."""
    return file.path.with_name(f".{file.name}.{what}")


def _deaths(file: Taken) -> int:
    begun = _note(file, "begun")
    return begun.stat().st_size if begun.exists() else 0


@contextlib.contextmanager
def _alone(taken: Path) -> Iterator[None]:
    """Hold the folder's lock, which goes with the process; files of a live one are never taken twice."""
    with (taken / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"another process takes files from {taken.parent}: wait for it") from None
        yield


def _settled(folder: Path, settle: float) -> list[Path]:
    """The files that look the same after `settle` seconds, the oldest first.

    They are looked at twice, so that it doesn't matter how any clock is set.
    """
    before = [(state, path) for path in folder.iterdir() if (state := _state(path))]
    if not before:
        return []
    time.sleep(settle)
    written = _open_for_writing()
    return [path for state, path in sorted(before) if _whole(path, state, written)]


def _state(path: Path) -> _State | None:
    """What changes when a file is written to; None for what is not to be taken."""
    if _hidden(path) or path.name.startswith("~$") or path.suffix.lower() in _UNFINISHED:
        return None
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        return None
    return found.st_mtime_ns, (found.st_dev, found.st_ino), found.st_size


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _whole(path: Path, state: _State, written: set[tuple[int, int]]) -> bool:
    if _state(path) != state:
        why = "it has just changed"
    elif path.is_symlink():
        return True  # to be refused
    elif state[1] in written:
        why = "a program has it open for writing"
    elif not os.access(path, os.R_OK):
        why = "it may not be read"
    elif _zip_cut_off(path):
        why = "it is a workbook without its end"
    else:
        return True
    logger.info("%s is left for later: %s", path, why)
    return False


def _zip_cut_off(path: Path) -> bool:
    """A zip without its end, or the name of one with nothing in it yet; what is no zip won't become one."""
    with path.open("rb") as file:
        start = file.read(4)
    begun = start == b"PK\x03\x04" or (path.suffix.lower() == ".xlsx" and not start.strip(b"\0"))
    return begun and not whole_zip(path)


def _open_for_writing() -> set[tuple[int, int]]:
    """Device and inode of files open for writing, by the processes that /proc lets us look into."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError, StopIteration):
            flags = next(line for line in entry.read_text().splitlines() if line.startswith("flags:"))
            if int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                file = (entry.parents[1] / "fd" / entry.name).stat()
                found.add((file.st_dev, file.st_ino))
    return found


def _claim(path: Path, taken: Path) -> None:
    """Rename a file into `taken`, unless it has gone. Later claims have names that sort later."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    with contextlib.suppress(FileNotFoundError):
        path.rename(taken / f"{now}-{secrets.token_hex(4)}-{_harmless(path.name)}")
        sync_file(taken)
        sync_file(taken.parent)


def _harmless(name: str) -> str:
    """What letters, digits, points and hyphens there are, cut so that the end of the name stays."""
    plain = re.sub(r"[^\w.-]+", "_", os.fsencode(name).decode(errors="replace"))
    return plain.encode()[-_NAME_BYTES:].decode(errors="ignore").lstrip(".")


def _move(file: Taken, to: str) -> Path:
    target = file.inbox / to / file.name
    file.path.rename(target)
    for what in ("begun", "failed"):
        _note(file, what).unlink(missing_ok=True)
    sync_file(target.parent)
    sync_file(file.path.parent)
    return target
