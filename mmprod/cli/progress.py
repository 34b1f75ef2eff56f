"""Progress of a command: bars on a terminal, lines in a log (cron, Airflow, Ray)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmprod.stages.outcome import Advance, Progress

EVERY = 10.0  # seconds between two lines; shorter stages print none


@contextmanager
def bars() -> Iterator["Progress"]:
    """Shows one progress bar per stage on stderr, which is a terminal."""
    from rich import progress as rich
    from rich.console import Console

    name = rich.TextColumn("{task.description:<22}")
    note = rich.TextColumn("{task.fields[note]}")
    columns = (name, rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn(), note)
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as shown:

        def progress(stage: str, total: int | None) -> "Advance":
            task = shown.add_task(stage, total=total, note="")

            def advance(rows: int, note: str = "") -> None:
                shown.update(task, advance=rows, note=note)

            return advance

        yield progress


def lines(
    write: Callable[[str], object], every: float = EVERY, clock: Callable[[], float] = time.monotonic
) -> "Progress":
    """Writes a line every `every` seconds: ``embed: 12,288 of 100,000 (12%), 512 a second, 3 min left``."""
    said = clock()

    def progress(stage: str, total: int | None) -> "Advance":
        begun, done = clock(), 0

        def advance(rows: int, note: str = "") -> None:
            nonlocal done, said
            done += rows
            now = clock()
            if now - said >= every:
                said = now
                write(f"{stage}: {_standing(done, total, now - begun)}{f'; {note}' if note else ''}\n")

        return advance

    return progress


def _standing(done: int, total: int | None, seconds: float) -> str:
    rate = done / seconds if seconds else 0.0
    speed = f"{rate:,.{0 if rate >= 10 else 1}f} a second"
    if not total:
        return f"{done:,}, {speed}"
    left = max(total - done, 0) / rate if rate else 0.0
    return f"{done:,} of {total:,} ({done / total:.0%}), {speed}, {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
