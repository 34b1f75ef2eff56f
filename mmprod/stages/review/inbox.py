"""The inbox for label files: only complete files are claimed, and each exactly once.

    inbox/answers.csv                 dropped by a reviewer; not touched while it may still be uploading
    inbox/taken/NAME                  claimed; files of a killed run are still here
    inbox/done/NAME                   read; the file as delivered
    inbox/returned/NAME.rejected.csv  its unusable rows, for the reviewer
    inbox/refused/NAME                not a label file, or one that could not be read twice
    inbox/returned/NAME.why.txt       the reason, for the reviewer; also beside the refused file

NAME is generated: the time, a random part, and the harmless characters of the file's name.
"""

import contextlib
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
from mmprod.storage import locks
from mmprod.storage.errors import StateError
from mmprod.storage.files import make_folder, replace_file, sha256_file, sync_file

logger = logging.getLogger(__name__)

TAKEN, DONE, RETURNED, REFUSED = "taken", "done", "returned", "refused"
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp")
_DEATHS = 3  # of runs while reading a file; after that it is read last
_NAME_BYTES = 120  # kept of a file's name; file systems allow 255 in all

_State = tuple[int, tuple[int, int], int]  # time of last change, device and inode, size


@dataclass(frozen=True)
class Taken:
    """A claimed file; `path` is its place until `finish` or `refuse`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def inbox(self) -> Path:
        return self.path.parent.parent


def take(folder: Path, stable_seconds: float) -> Iterator[Taken]:
    """Claim the complete files of `folder`; yields them and the files claimed by a killed run, oldest first.

    A file is complete if it has not changed for `stable_seconds` seconds, its name is not hidden and not that
    of a download or an open document, no process visible in /proc has it open for writing, and, if it is a
    workbook, its zip is not cut off. Other files stay in place. Pass each file to `finish` or `refuse`;
    otherwise it is yielded again the next time, after all others if several runs have died while reading it.
    Symbolic links are refused here.
    Raises: StateError while another process claims files in this folder.
    """
    for name in (TAKEN, DONE, RETURNED, REFUSED):
        make_folder(folder / name)
    with _alone(folder / TAKEN):
        for path in _unchanged(folder, stable_seconds):
            _claim(path, folder / TAKEN)
        for file in sorted(_claimed(folder), key=lambda file: (_deaths(file) >= _DEATHS, file.name)):
            if file.path.is_symlink():
                refuse(file, "a link: copy the file itself here")
            else:
                with _note(file, "begun").open("a") as begun:
                    begun.write(".")
                yield file


def arrivals(folder: Path, every: float = 1.0) -> Iterator[None]:
    """Yields whenever there is a file that `take` may claim; polls every `every` seconds, for ever."""
    while True:
        for place in (folder / TAKEN, folder):
            if place.is_dir() and any(_state(path) for path in place.iterdir()):
                yield
                break
        time.sleep(every)


def finish(file: Taken, rejected: Path | None = None, sha256: str | None = None) -> Path:
    """Move a file that was read to done/, and `rejected`, a CSV of its rejected rows, to returned/.

    Returns the file's new path. Call it only after the file's answers are published: if the run dies before
    this call, the file is read again. Raises: ChangedError if the file's content is no longer that with
    `sha256`; it is read again the next time.
    """
    if sha256 and sha256_file(file.path) != sha256:
        _note(file, "begun").unlink(missing_ok=True)
        raise ChangedError(f"{file.path} was written to after it had been read")
    if rejected:
        replace_file(file.inbox / RETURNED / f"{file.name}.rejected.csv", rejected.read_bytes())
    return _move(file, DONE)


def refuse(file: Taken, why: str) -> Path:
    """Move an unusable file to refused/ and write the reason beside it and to returned/.

    Returns the file's new path.
    """
    for place in (RETURNED, REFUSED):
        replace_file(file.inbox / place / f"{file.name}.why.txt", why.rstrip() + "\n")
    return _move(file, REFUSED)


def fail(file: Taken, why: str) -> None:
    """After a failed reading: leave the file for the next run the first time, refuse it the second time."""
    failed = _note(file, "failed")
    if failed.exists():
        refuse(file, f"{why}; the time before: {failed.read_text()}")
    else:
        _note(file, "begun").unlink(missing_ok=True)
        replace_file(failed, why)


def _claimed(folder: Path) -> list[Taken]:
    return [Taken(path) for path in (folder / TAKEN).iterdir() if not _hidden(path)]


def _note(file: Taken, what: str) -> Path:
    """The path of a note that a file was "begun" or "failed"; deleted when the file is moved away."""
    return file.path.with_name(f".{file.name}.{what}")


def _deaths(file: Taken) -> int:
    begun = _note(file, "begun")
    return begun.stat().st_size if begun.exists() else 0


@contextlib.contextmanager
def _alone(taken: Path) -> Iterator[None]:
    """Hold the folder's lock, so that no file is claimed twice; released when the process ends."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.held(taken / ".lock", wait=False))
        except BlockingIOError:
            raise StateError(f"another process takes files from {taken.parent}: wait for it") from None
        yield


def _unchanged(folder: Path, stable_seconds: float) -> list[Path]:
    """The complete files that have not changed within `stable_seconds` seconds, the oldest first.

    Their state is compared before and after the wait, so it does not depend on any clock.
    """
    before = [(state, path) for path in folder.iterdir() if (state := _state(path))]
    if not before:
        return []
    time.sleep(stable_seconds)
    written = _open_for_writing()
    return [path for state, path in sorted(before) if _whole(path, state, written)]


def _state(path: Path) -> _State | None:
    """State that changes when a file is written to; None for files that are never claimed."""
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
    """Whether a file is an incomplete zip: one without its end, or an .xlsx that is still empty."""
    with path.open("rb") as file:
        start = file.read(4)
    begun = start == b"PK\x03\x04" or (path.suffix.lower() == ".xlsx" and not start.strip(b"\0"))
    return begun and not whole_zip(path)


def _open_for_writing() -> set[tuple[int, int]]:
    """Device and inode of all files that processes readable in /proc have open for writing."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError, StopIteration):
            flags = next(line for line in entry.read_text().splitlines() if line.startswith("flags:"))
            if int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                file = (entry.parents[1] / "fd" / entry.name).stat()
                found.add((file.st_dev, file.st_ino))
    return found


def _claim(path: Path, taken: Path) -> None:
    """Rename a file into `taken`, unless it no longer exists. Later claims have names that sort later."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    with contextlib.suppress(FileNotFoundError):
        path.rename(taken / f"{now}-{secrets.token_hex(4)}-{_harmless(path.name)}")
        sync_file(taken)
        sync_file(taken.parent)


def _harmless(name: str) -> str:
    """The name with other characters than letters, digits, dots and hyphens replaced; cut at its start."""
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
