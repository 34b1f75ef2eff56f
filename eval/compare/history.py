"""The figures of many evaluations as one table, for plots over time."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pyarrow as pa

from mmprod.datasets.schemas import METRIC, TIME, check
from mmprod.storage.errors import InputError

HISTORY = pa.schema([pa.field("made_at", TIME, nullable=False), *METRIC])


def history(evaluations: Iterable[tuple[str, pa.Table]]) -> pa.Table:
    """Combine evaluations, given as (ISO 8601 time, METRIC table), to HISTORY in order of time.

    Raises: InputError for two evaluations with the same time, a time without a zone, and other columns.
    """
    tables: dict[datetime, pa.Table] = {}
    for text, metrics in evaluations:
        made_at = _time(text)
        check(metrics, METRIC, f"figures of {text}")
        if made_at in tables:
            raise InputError(f"two evaluations have the same time, {text}")
        times = pa.array([made_at] * metrics.num_rows, TIME)
        tables[made_at] = pa.table([times, *metrics.columns], schema=HISTORY)
    return pa.concat_tables([HISTORY.empty_table(), *(tables[made_at] for made_at in sorted(tables))])


def _time(text: str) -> datetime:
    try:
        made_at = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is no time; want one such as 2025-03-01T06:00:00+00:00") from None
    if made_at.tzinfo is None:
        raise InputError(f"{text!r} has no time zone; want one such as 2025-03-01T06:00:00+00:00")
    return made_at.astimezone(UTC)
