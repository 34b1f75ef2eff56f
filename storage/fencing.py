"""Fencing: an older attempt at the same work can't publish once a newer attempt has started.

The scheduler sets ``MMPROD_RUN=work:attempt``: the name of the work and the number of this attempt at it.
`enter` registers the attempt as the valid one and kills an earlier attempt that still runs on this machine.
`publishing` is held around each step whose effect others see. Without the variable both do nothing.

    <lake>/.runs/<hash of work>.json   the valid attempt and its process

`publishing` holds a shared lock on that file, `enter` an exclusive one, so no attempt can take over between
the check and the step. This is a fencing token checked by the storage itself (Kleppmann 2016).
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mmprod.storage import locks, processes
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder

VARIABLE = "MMPROD_RUN"
FOLDER = ".runs"
_END_SECONDS = 10  # longest wait for a killed process to end
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """An attempt at some work, and its process: `born` is the process's start time in clock ticks."""

    work: str
    number: int
    token: str
    machine: str
    pid: int
    born: str


_held: list[tuple[Path, Attempt]] = []  # attempts that this process has entered, the innermost last


@contextlib.contextmanager
def enter(folder: Path) -> Iterator[None]:
    """Make this process's attempt the only one that may publish into the lake at `folder`, during the block.

    Raises: StateError when a later attempt has entered; InputError when the variable is malformed.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        yield
        return
    mine = _attempt(wanted)
    if any((held.work, held.number) == (mine.work, mine.number) for _, held in _held):
        yield  # this attempt has entered already, in an enclosing block
        return
    path = _path(folder, mine.work)
    make_folder(path.parent)
    _end_earlier(path, mine)  # before locking: an attempt stopped while publishing would keep the lock
    with locks.held(path) as fd:
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
    """Hold around a step whose effect others see.

    Raises: StateError, before the step, when another attempt has taken over.
    """
    with contextlib.ExitStack() as stack:
        for path, mine in _held:
            now = _read(stack.enter_context(locks.held(path, shared=True))) if path.exists() else None
            if now is None or now.token != mine.token:
                raise _superseded(mine, now)
        yield


def attempts() -> list[tuple[Path, Attempt]]:
    """The attempts that this process has entered, for processes that write on its behalf (`adopt`)."""
    return list(_held)


def adopt(entered: list[tuple[Path, Attempt]]) -> None:
    """Publish under the attempts of the process that started this one."""
    _held[:] = entered


def latest(folder: Path, work: str) -> int:
    """The number of the valid attempt at `work` in the lake at `folder`; 0 before the first."""
    path = _path(folder, work)
    if not path.exists():
        return 0
    with locks.held(path, shared=True) as fd:
        found = _read(fd)
    return found.number if found else 0


def forget(folder: Path, days: int = 30) -> None:
    """Remove the records of work that no attempt has entered for `days` days."""
    for path in (folder / FOLDER).glob("*.json"):
        if time.time() - path.stat().st_mtime > days * 86_400:
            path.unlink()


def _path(folder: Path, work: str) -> Path:
    return folder / FOLDER / f"{hashlib.sha256(work.encode()).hexdigest()[:24]}.json"


def _attempt(wanted: str) -> Attempt:
    work, _, number = wanted.rpartition(":")
    if not work or not number.isdigit():
        raise InputError(f"{VARIABLE}={wanted!r}: want work:attempt with a number, e.g. nightly/2025-03-01:2")
    return Attempt(
        work, int(number), secrets.token_hex(8), processes.machine(), os.getpid(), processes.born(os.getpid())
    )


def _superseded(mine: Attempt, now: Attempt | None) -> StateError:
    other = f"attempt {now.number} (process {now.pid}) has taken over" if now else "its record was removed"
    return StateError(f"attempt {mine.number} at {mine.work} publishes nothing more: {other}")


def _read(fd: int) -> Attempt | None:
    """The valid attempt; None when there is none yet, or when its writer died while writing."""
    try:
        return Attempt(**json.loads(os.pread(fd, 65_536, 0)))
    except (ValueError, TypeError):
        return None


def _write(fd: int, attempt: Attempt) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(asdict(attempt)).encode(), 0)
    os.fsync(fd)


def _end_earlier(path: Path, mine: Attempt) -> None:
    """Kill the process of an earlier attempt if it still exists on this machine, running or stopped."""
    with path.open("a+") as file:
        before = _read(file.fileno())
    if not before or before.number > mine.number or before.pid == mine.pid:
        return
    if before.machine == mine.machine and processes.kill(before.pid, before.born, _END_SECONDS):
        log.warning("ended process %d, attempt %d at %s", before.pid, before.number, before.work)
