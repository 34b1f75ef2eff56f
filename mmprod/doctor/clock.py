"""Compares the clock with times in the lake. No order depends on it, but displayed ages do."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from mmprod.doctor.finding import Finding
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.store import open_store
from mmprod.storage import artifacts
from mmprod.storage.errors import StateError

_SLACK = timedelta(minutes=5)  # tolerated difference between the clocks of several machines
_AHEAD = timedelta(days=1)  # how early a day's table may arrive
_CURE = "timedatectl set-ntp true"


def clock(now: datetime, made: datetime | None, day: date | None) -> Finding:
    """Whether the clock is behind the newest artifact (`made`) or the newest day of the store (`day`)."""
    if made and made > now + _SLACK:
        text = f"{now:%Y-%m-%d %H:%M} UTC, but something in the lake was made at {made:%Y-%m-%d %H:%M}"
        return Finding("clock", "note", text, _CURE)
    if day and day > now.date() + _AHEAD:
        text = f"{now:%Y-%m-%d %H:%M} UTC, but the store knows of {day}"
        return Finding("clock", "note", text, _CURE)
    return Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC, ahead of all that is in the lake")


def newest(lake: Lake) -> datetime | None:
    """When the newest artifact was made; damaged ones are skipped."""
    return max(_made(lake), default=None)


def newest_day(lake: Lake, config: Config) -> date | None:
    """The newest day ingested into the store. Raises: StateError if the store can't be opened."""
    if not lake.store.exists():
        return None
    with open_store(lake, config) as store:
        return max(map(date.fromisoformat, store.days()), default=None)


def clock_of(lake: Lake, config: Config) -> Finding:
    """`clock` with the current time and a lake's newest artifact and day."""
    return clock(datetime.now(UTC), newest(lake), newest_day(lake, config))


def _made(lake: Lake) -> Iterator[datetime]:
    for root in lake.artifact_roots():
        for name in artifacts.generations(root):
            try:
                yield datetime.fromisoformat(artifacts.Manifest.read(root / name).created_at)
            except (StateError, ValueError):
                continue
