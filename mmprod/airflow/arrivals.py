"""Waiting for files, without a worker: the product table of a day, and label files in the inbox."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from mmprod.airflow.settings import Settings
from mmprod.airflow.typed import check_day

_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp")
State = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each file."""


class DayTable(BaseOperator):
    """Waits, without a worker, until the product table of `day` is complete; returns its path."""

    template_fields: Sequence[str] = ("day",)

    def __init__(self, *, day: str, timeout: timedelta, stable_seconds: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.day, self.timeout, self.stable_seconds = day, timeout, stable_seconds

    def execute(self, context: Any) -> None:
        path = Settings.read().tables.format(day=check_day(self.day))
        self.log.info("waiting for %s, at most %s", path, self.timeout)
        self.defer(
            trigger=TableTrigger(path, self.stable_seconds), method_name="arrived", timeout=self.timeout
        )

    def arrived(self, context: Any, event: str) -> str:
        """Called when the table is complete."""
        self.log.info("%s is there", event)
        return event


class TableTrigger(BaseTrigger):
    """Fires once, with the path, when a file or folder has not changed for `stable_seconds` seconds."""

    def __init__(self, path: str, stable_seconds: float) -> None:
        super().__init__()
        self.path, self.stable_seconds = path, stable_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "mmprod.airflow.arrivals.TableTrigger", {
            "path": self.path,
            "stable_seconds": self.stable_seconds,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        before: State = ()
        while not (now := await asyncio.to_thread(state_of, Path(self.path))) or now != before:
            before = now
            await asyncio.sleep(self.stable_seconds)
        yield TriggerEvent(self.path)


class InboxTrigger(BaseEventTrigger):
    """Fires when label files arrive in the lake's inbox, and every `again` seconds while files remain.

    Files that a run claimed but did not finish also count as remaining: the run died, or the file changed or
    could not be read. The trigger changes nothing: `mmprod review collect` claims files by renaming them.
    """

    def __init__(self, every: float = 1.0, again: float = 60.0) -> None:
        super().__init__()
        self.every, self.again = every, again

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "mmprod.airflow.arrivals.InboxTrigger", {"every": self.every, "again": self.again}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        inbox = Path((await sync_to_async(Settings.read)()).lake) / "reviews" / "inbox"
        told: State = ()
        quiet = 0.0
        while True:
            now = await asyncio.to_thread(state_of, inbox)
            quiet += self.every
            waiting = now
            if not now and quiet >= self.again:
                waiting = await asyncio.to_thread(state_of, inbox / "taken")
            if waiting and (now != told or quiet >= self.again):
                told, quiet = now, 0.0
                yield TriggerEvent({"inbox": str(inbox), "files": len(waiting)})
            await asyncio.sleep(self.every)


def state_of(path: Path) -> State:
    """The state of the file at `path` or of the files in that folder, without hidden and unfinished ones."""
    found = []
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.name.startswith((".", "~$", "_")) or file.suffix.lower() in _UNFINISHED:
            continue
        try:
            stat = file.stat()
        except OSError:  # missing, or just claimed
            continue
        if file.is_file() and stat.st_size:
            found.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(found)
