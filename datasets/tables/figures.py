"""Parsing of numbers, dates and flags in the forms that people and programs write.

Whole columns are converted at once if possible, else value by value in Python. A value with exactly one
interpretation is read. A value with two (3/1/2025) or none becomes null, and a mask marks it.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import TIME
from mmprod.datasets.tables.columns import Mask, filled_texts, is_text, mask, nowhere

TRUE = ("true", "1", "1.0", "yes", "y", "t")
FALSE = ("false", "0", "0.0", "no", "n", "f")

_TIMESTAMP = re.compile(r"(?:^|_)ts_(s|ms|us|ns)$", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MYRIADS = {"": 1, "k": 10**3, "千": 10**3, "w": 10**4, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
# 1200, 1,234 (groups of three), 1.2万, 2000+ (at least so many), 1e3
_NUMBER = re.compile(
    r"(?P<figure>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+)"
    rf"\s*(?P<myriad>[{''.join(_MYRIADS)}]?)\+?"
)
# 2025/3/1, 2025.3.1, 2025年3月1日, each with or without a time of day
_DATE = re.compile(
    r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?"
    r"(?:[T\s]*(\d{1,2})\s*[:时時点]\s*(\d{1,2})\s*分?(?:\s*:?\s*(\d{1,2})\s*秒?)?)?"
)


def times(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Timestamps, dates, ISO 8601 or year-first text as `TIME`, UTC by default; a mask of unreadable ones."""
    if is_text(column.type):
        column = filled_texts(column)
        for target in (pa.timestamp("us"), TIME):  # all values without a zone, or all with one
            try:
                return column.cast(target).cast(TIME), nowhere(column)
            except pa.ArrowInvalid:
                continue
        return each(column.to_pylist(), read_time, TIME)
    try:
        return _cast_time(column), nowhere(column)
    except pa.ArrowInvalid:  # a year that microseconds can't count to
        return each(
            list(column), lambda value: _cast_time(pa.array([value.as_py()], column.type))[0].value, TIME
        )


def unit_of(name: str) -> str | None:
    """The unit of a column of numbers since 1970, by its name as in change feeds: ts_ms, source_ts_us."""
    match = _TIMESTAMP.search(name)
    return match[1] if match else None


def moments(column: pa.Array, name: str) -> tuple[pa.Array, Mask]:
    """As `times`; in a column whose name tells a unit (`unit_of`), whole numbers count from 1970."""
    unit = unit_of(name)
    if not unit or not (is_text(column.type) or pa.types.is_integer(column.type)):
        return times(column)
    words = pa.nulls(len(column), pa.string())
    if is_text(column.type):
        column = filled_texts(column)
        whole = pc.match_substring_regex(column, "^[0-9]{1,19}$")
        words, column = pc.if_else(whole, words, column), pc.if_else(whole, column, words)
    numbers, too_long = integers(column)
    counted, far = times(numbers.cast(pa.timestamp(unit, tz="UTC")))
    read, unreadable = times(words)
    return pc.coalesce(counted, read), too_long | far | unreadable


def integers(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Numbers, or text of numbers, rounded to int64, null for NaN and ''; a mask of unreadable ones."""
    if is_text(column.type):
        column = filled_texts(column)
    elif not pa.types.is_integer(column.type):
        column = column.cast(pa.float64())
        column = pc.round(pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column))
    try:
        return column.cast(pa.int64()), nowhere(column)
    except pa.ArrowInvalid:
        return each(column.to_pylist(), read_integer, pa.int64())


def flags(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Booleans, 0 and 1, or words of TRUE and FALSE in any case, null for ''; a mask of unreadable ones."""
    words = pc.utf8_lower(filled_texts(column))
    true = pc.is_in(words, pa.array(TRUE))
    known = pc.or_(true, pc.is_in(words, pa.array(FALSE)))
    return pc.if_else(known, true, pa.scalar(None, pa.bool_())), mask(pc.invert(known)) & mask(
        words.is_valid()
    )


def each(values: Sequence[Any], convert: Callable[[Any], int], target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Convert row by row; a row whose conversion raises becomes null and is marked in the mask."""
    found: list[int | None] = [None] * len(values)
    bad = np.zeros(len(values), dtype=bool)
    for row, value in enumerate(values):
        try:
            found[row] = None if value is None else convert(value)
        except (ValueError, OverflowError, pa.ArrowException):
            bad[row] = True
    return pa.array(found, pa.int64()).cast(target), bad


def read_integer(value: str | float) -> int:
    """The integer of ``1,234``, ``1.2万``, ``2000+``, ``1e3`` or a number, rounded.

    Raises: ValueError for anything else (``1_000``, ``12,34``), OverflowError beyond 64 bits.
    """
    number = _parse_number(value) if isinstance(value, str) else round(value)
    if not math.log2(abs(number) or 1) < 63:
        raise OverflowError(f"{number} doesn't fit 64 bits")
    return number


def read_time(text: str) -> int:
    """µs since 1970 of ISO 8601 text, or of a date that begins with the year, with or without a time (UTC).

    Raises: ValueError for anything else, such as ``3/1/2025``, which is ambiguous.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        parts = _DATE.fullmatch(unicodedata.normalize("NFKC", text).strip())
        if parts is None:
            raise
        moment = datetime(*(int(part or 0) for part in parts.groups()))  # type: ignore[arg-type]
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _parse_number(text: str) -> int:
    parts = _NUMBER.fullmatch(unicodedata.normalize("NFKC", text).strip())
    if parts is None:
        raise ValueError(f"{text!r} is no number")
    figure, scale = parts["figure"].replace(",", ""), _MYRIADS[parts["myriad"]]
    return int(figure) * scale if figure.lstrip("+-").isdigit() else round(float(figure) * scale)


def _cast_time(column: pa.Array) -> pa.Array:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    return pc.cast(column, options=pc.CastOptions(TIME, allow_time_truncate=True))
