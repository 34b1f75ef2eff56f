"""The right to publish: a stopped process that wakes up after another has taken over its work has lost it.

``MMPROD_RUN=work:attempt`` says what a process works on and which attempt at it this is; a scheduler sets it.
`enter` makes the attempt the one that counts and ends an earlier one that still runs on this machine;
`publishing` guards each step that others see. Without the variable both do nothing.

    <lake>/.runs/<hash of work>.json   which attempt counts, and its process

Publishing holds a shared lock on that file and `enter` an exclusive one, so nothing slips through between the
question and the step (a fencing token that the storage itself asks for; Kleppmann 2016).
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder

VARIABLE = "MMPROD_RUN"
FOLDER = ".runs"
_PATIENCE = 10  # seconds that a process may take to end, once it is killed
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """An attempt at some work, and the process that makes it: `born` is its start in clock ticks."""

    work: str
    number: int
    token: str
    machine: str
    pid: int
    born: str


_held: list[tuple[Path, Attempt]] = []  # what this process has entered, the innermost last


@contextlib.contextmanager
def enter(folder: Path) -> Iterator[None]:
    """Make this process's attempt the one that may publish into the lake at `folder` while the block lasts.

    Raises: StateError when a later attempt has entered; InputError when the variable can't be understood.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        yield
        return
    mine = _attempt(wanted)
    if any((held.work, held.number) == (mine.work, mine.number) for _, held in _held):
        yield  # this very attempt, one lock further in
        return
    path = _path(folder, mine.work)
    make_folder(path.parent)
    _end_earlier(path, mine)  # first: one that was stopped while publishing would keep the lock
    with _locked(path, fcntl.LOCK_EX) as fd:
        before = _read(fd)
        if before and before.number > mine.number:
            raise _superseded(mine, before)
        _write(fd, mine)
    _held.append((path, mine))
    try:
        yield
    finally:
        _held.remove((path, mine))


@contextlib.contextmanager
def publishing() -> Iterator[None]:
    """Around a step that others see. Raises: StateError, before it, when another attempt has taken over."""
    with contextlib.ExitStack() as stack:
        for path, mine in _held:
            now = _read(stack.enter_context(_locked(path, fcntl.LOCK_SH)))
            if now is None or now.token != mine.token:
                raise _superseded(mine, now)
        yield


def latest(folder: Path, work: str) -> int:
    """The number of the attempt at `work` that counts in the lake at `folder`; 0 before the first."""
    path = _path(folder, work)
    if not path.exists():
        return 0
    with _locked(path, fcntl.LOCK_SH) as fd:
        found = _read(fd)
    return found.number if found else 0


def forget(folder: Path, days: int = 30) -> None:
    """Remove the records of work that nobody has entered for so many days."""
    for path in (folder / FOLDER).glob("*.json"):
        if time.time() - path.stat().st_mtime > days * 86_400:
            path.unlink()


def _path(folder: Path, work: str) -> Path:
    return folder / FOLDER / f"{hashlib.sha256(work.encode()).hexdigest()[:24]}.json"


def _attempt(wanted: str) -> Attempt:
    work, _, number = wanted.rpartition(":")
    if not work or not number.isdigit():
        raise InputError(f"{VARIABLE}={wanted!r}: want work:attempt with a number, e.g. nightly/2025-03-01:2")
    return Attempt(work, int(number), secrets.token_hex(8), _machine(), os.getpid(), _born(os.getpid()))


def _superseded(mine: Attempt, now: Attempt | None) -> StateError:
    other = f"attempt {now.number} (process {now.pid}) has taken over" if now else "its record was removed"
    return StateError(f"attempt {mine.number} at {mine.work} publishes nothing more: {other}")


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, kind)
        yield fd
    finally:
        os.close(fd)


def _read(fd: int) -> Attempt | None:
    """The attempt that counts; None when there is none yet, or when its writer died half-way."""
    try:
        return Attempt(**json.loads(os.pread(fd, 65_536, 0)))
    except (ValueError, TypeError):
        return None


def _write(fd: int, attempt: Attempt) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(asdict(attempt)).encode(), 0)
    os.fsync(fd)


def _end_earlier(path: Path, mine: Attempt) -> None:
    """End the process of an earlier attempt if it still runs on this machine, stopped or not."""
    with path.open("a+") as file:
        before = _read(file.fileno())
    if not before or before.number > mine.number or before.pid == mine.pid:
        return
    try:
        process = os.pidfd_open(before.pid)
    except OSError:  # it has ended
        return
    try:
        if (before.machine, before.born) == (mine.machine, _born(before.pid)):
            log.warning("ending process %d, attempt %d at %s", before.pid, before.number, before.work)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], _PATIENCE)  # its locks go with the last of its threads
    finally:
        os.close(process)


def _machine() -> str:
    """This machine since it was started, and this container on it."""
    with contextlib.suppress(OSError):
        return f"{os.uname().nodename} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return os.uname().nodename


def _born(pid: int) -> str:
    """When a process was started, in clock ticks since the machine was; empty when there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
