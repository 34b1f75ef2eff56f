"""The result of a stage, in the same form for every stage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class Advance(Protocol):
    """Called with the rows done since the last call, and with what the stage spends its time on."""

    def __call__(self, rows: int, note: str = "") -> None: ...


Progress = Callable[[str, int | None], Advance]
"""Called with a stage's name and total rows; returns a function to call with the rows done since."""


def no_progress(stage: str, total: int | None) -> Advance:
    """A Progress that shows nothing."""
    return lambda rows, note="": None


@dataclass
class Outcome:
    """Counts of one stage.

    Of the `rows` read, `changed` were processed, `reused` were as before and `refused` were unusable.
    `detail` holds the stage's own counts and names. `made` maps the folder of each artifact that the stage
    made or reused to its current version: a generation, the revision of an embedding table, the position of
    the store. `spent`: the seconds of what its slowest part did, by name."""

    stage: str
    rows: int = 0
    changed: int = 0
    reused: int = 0
    refused: int = 0
    seconds: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        spent = {name: round(seconds, 3) for name, seconds in self.spent.items()}
        return {
            **asdict(self),
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 1),
            "spent": spent,
        }

    @property
    def waits(self) -> str:
        """What the time was spent on, in words: ``decode 12% · towers 80% · write 8%``."""
        total = sum(self.spent.values())
        return " · ".join(f"{name} {of / total:.0%}" for name, of in self.spent.items()) if total else ""


@contextmanager
def timed(stage: str) -> Iterator[Outcome]:
    """Yields an Outcome to fill in and sets its seconds to the duration of the `with` block."""
    outcome, start = Outcome(stage), time.perf_counter()
    yield outcome
    outcome.seconds = time.perf_counter() - start
