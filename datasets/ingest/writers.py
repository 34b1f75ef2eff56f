"""Processes that merge rows into a store's shards, beside the process that reads the day's table.

Each shard belongs to one writer. The reading process keeps the store's lock, compares the rows with what is
stored (`same`) and sends the others by shard; a writer merges them as `merge_part` does anywhere. Writers end
with the process that started them, however that ends. A writer that dies ends the run: what it has committed
stays, and the next run does the rest.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Collection, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mmprod.datasets.ingest.added import merge_added
from mmprod.datasets.ingest.delivery import Chosen, Row, rows
from mmprod.datasets.ingest.merge import Day, Part, merge_part
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.store import Store
from mmprod.storage import fencing
from mmprod.storage.errors import StateError

COMMIT_ROWS = 20_000
"""Rows of a shard that are committed at once: each commit rewrites every page on which one of them lies."""

COMMIT_BYTES = 1 << 26

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class _Work(NamedTuple):
    """What a writer needs to know."""

    folders: dict[int, Path]  # its shards
    day: Day
    volatile: Collection[str]
    lock: Any  # the store's lock, so that it is held until the last writer has ended
    attempts: Any
    parent: int


class Writers:
    """The writers of one run; a context manager that ends them."""

    def __init__(self, store: Store, day: Day, volatile: Collection[str], count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for number in range(count):
            folders = {n: shard.folder for n, shard in enumerate(store.shards) if n % count == number}
            ours, theirs = context.Pipe()
            work = _Work(folders, day, volatile, DupFd(store.lock), fencing.attempts(), os.getpid())
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            self._ends.append(ours)
            self._processes.append(process)

    def send(self, shard: int, chosen: Chosen) -> None:
        """Have rows of a shard merged; waits while its writer is busy. Pictures must be among the rows."""
        try:
            self._ends[shard % len(self._ends)].send((shard, chosen))
        except (BrokenPipeError, ConnectionResetError) as error:
            self._raise(shard % len(self._ends), error)

    def finish(self) -> Counter[str]:
        """Wait until all rows are merged; returns their outcomes, under the names of `DayCounts`.

        Raises: what a writer raised, or StateError when one was killed.
        """
        tally = Counter[str]()
        for number, end in enumerate(self._ends):
            try:
                end.send(None)
                found = end.recv()
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                self._raise(number, error)
            if isinstance(found, Exception):
                raise found
            tally.update(found)
        return tally

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *raised: object) -> None:
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.join()

    def _raise(self, number: int, error: Exception) -> NoReturn:
        """Raise what a writer raised before it ended, or that it was killed."""
        end, process = self._ends[number], self._processes[number]
        with contextlib.suppress(EOFError, OSError):
            if end.poll() and isinstance(found := end.recv(), Exception):
                error = found
        process.join(10)
        if process.exitcode == 0:
            raise error
        raise StateError(
            f"process {process.pid}, which wrote shards of the store, has ended with {process.exitcode}; "
            "what it committed is kept, run the day again"
        ) from error


def _serve(connection: Connection, work: _Work) -> None:
    """Merge what comes until None comes; then, or after an error, send the outcomes or the error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that reads, and with it this one
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != work.parent:
        return
    lock = work.lock.detach()
    fencing.adopt(work.attempts)
    gc.disable()
    shards = {number: Shard(folder, False) for number, folder in work.folders.items()}
    try:
        connection.send(_merged(connection, shards, work))
    except EOFError:
        pass  # the run was given up
    except Exception as error:  # noqa: BLE001 (raised again by the process that reads the table)
        connection.send(error)
    finally:
        for shard in shards.values():
            shard.close()
        os.close(lock)


def _merged(connection: Connection, shards: dict[int, Shard], work: _Work) -> Counter[str]:
    tally = Counter[str]()
    gathered = {number: _Gathered([], 0) for number in shards}

    def commit(number: int) -> None:
        shard, found = shards[number], merge_added(shards[number], work.day, gathered[number].rows, tally)
        merge_part(shard, work.day, Part(list(found), [], []), _NoPictures(), tally)
        gathered[number] = _Gathered([], 0)
        gc.collect(1)

    while (message := connection.recv()) is not None:
        number, chosen = message
        held = gathered[number] = gathered[number].with_rows(chosen, work.volatile)
        if len(held.rows) >= COMMIT_ROWS or held.size >= COMMIT_BYTES:
            commit(number)
    for number, held in gathered.items():
        if held.rows:
            commit(number)
    return tally


class _Gathered(NamedTuple):
    """Rows of a shard that wait for their commit, and their bytes."""

    rows: list[Row]
    size: int

    def with_rows(self, chosen: Chosen, volatile: Collection[str]) -> "_Gathered":
        return _Gathered(self.rows + rows(chosen, volatile), self.size + chosen.table.nbytes)


class _NoPictures:
    """For rows whose picture comes with them, if they have one."""

    def read(self, path: str) -> bytes | str:
        raise RuntimeError(f"the picture {path} was to be read before")

    def fetch(self, urls: Sequence[str]) -> list[bytes | str]:
        if urls:
            raise RuntimeError(f"the picture {urls[0]} was to be fetched before")
        return []
