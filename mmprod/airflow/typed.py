"""Checks what people enter for a run, its parameters and its day: each must be a single argument."""

import unicodedata
from collections.abc import Iterator
from datetime import date
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

_BREAKS = ("Cc", "Zl", "Zp", "Cs")  # control characters, line and paragraph separators, surrogates


def check_run(context: Any) -> None:
    """Raise AirflowFailException if a parameter or the day of the run contains a line break.

    A task's arguments are the lines of its templates, so a line break in a value would begin another
    argument.
    """
    for name, value in dict(context["params"]).items():
        check(f"parameter {name!r}", value)
    check("the partition key", getattr(context["dag_run"], "partition_key", None))


def check(what: str, value: Any) -> None:
    """Raise AirflowFailException if `value` is or contains a text with a control character or line break."""
    for text in _texts(value):
        if broken := next((sign for sign in text if unicodedata.category(sign) in _BREAKS), None):
            raise AirflowFailException(
                f"{what} is {text!r}, which holds {broken!r}: want one line without control characters"
            )


def check_day(day: str) -> str:
    """Returns `day`. Raises: AirflowFailException unless it has the form 2025-03-01."""
    try:
        if date.fromisoformat(day).isoformat() == day:
            return day
    except ValueError:
        pass
    raise AirflowFailException(f"the day of the run is {day!r}, want one such as 2025-03-01")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
