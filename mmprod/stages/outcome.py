"""What a stage did, in the same few words for every stage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

Advance = Callable[[int], None]
Watch = Callable[[str, int | None], Advance]
"""Somebody who looks on: told a stage's name and its number of rows, gives back whom to tell of rows done."""


def silent(stage: str, total: int | None) -> Advance:
    """Nobody looks on."""
    return lambda rows: None


@dataclass
class Outcome:
    """Counts of one stage: `rows` came in; of those `changed` were worked on, `reused` were as before and
    `refused` could not be used. `detail` holds what is particular to the stage. `made` names the folder of
    each artifact that the stage made, or found as it was, and its version now: a generation, the revision of
    an embedding table, the position of the store."""

    stage: str
    rows: int = 0
    changed: int = 0
    reused: int = 0
    refused: int = 0
    seconds: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": round(self.seconds, 3), "rate": round(self.rate, 1)}


@contextmanager
def timed(stage: str) -> Iterator[Outcome]:
    """Give an Outcome to fill in; its seconds are those of the block."""
    outcome, start = Outcome(stage), time.perf_counter()
    yield outcome
    outcome.seconds = time.perf_counter() - start
