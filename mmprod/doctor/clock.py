"""The clock beside what the lake remembers. No order depends on it, but ages, and names of backups, do."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from mmprod.doctor.finding import Finding
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.ingest import open_store
from mmprod.storage import artifacts
from mmprod.storage.errors import StateError

_SLACK = timedelta(minutes=5)  # that clocks of several machines may be apart
_AHEAD = timedelta(days=1)  # that a day's table may come early
_CURE = "timedatectl set-ntp true"


def clock(now: datetime, made: datetime | None, day: date | None) -> Finding:
    """Whether the clock is behind the newest artifact (`made`), or behind the newest day of the store."""
    if made and made > now + _SLACK:
        text = f"{now:%Y-%m-%d %H:%M} UTC, but something in the lake was made at {made:%Y-%m-%d %H:%M}"
        return Finding("clock", "note", text, _CURE)
    if day and day > now.date() + _AHEAD:
        text = f"{now:%Y-%m-%d %H:%M} UTC, but the store knows of {day}"
        return Finding("clock", "note", text, _CURE)
    return Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC, ahead of all that is in the lake")


def newest(lake: Lake) -> datetime | None:
    """When the newest artifact was made; damaged ones are left to `mmprod verify`."""
    return max(_made(lake), default=None)


def newest_day(lake: Lake, config: Config) -> date | None:
    """The newest day that the store was told of. Raises: StateError when it can't be opened."""
    if not lake.store.exists():
        return None
    with open_store(lake, config) as store:
        return max(map(date.fromisoformat, store.days()), default=None)


def clock_of(lake: Lake, config: Config) -> Finding:
    """`clock`, now and for a lake."""
    return clock(datetime.now(UTC), newest(lake), newest_day(lake, config))


def _made(lake: Lake) -> Iterator[datetime]:
    for root in lake.artifact_roots():
        for name in artifacts.generations(root):
            try:
                yield datetime.fromisoformat(artifacts.Manifest.read(root / name).created_at)
            except (StateError, ValueError):
                continue
