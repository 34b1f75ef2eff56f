"""Columns of any workable type to the product table's own types, a batch at a time.

Values that can't be converted become null, with a mask of where: Python looks at single rows only when a
whole column won't convert at once.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import TIME

Mask = npt.NDArray[np.bool_]

MAX_ID = 511  # bytes: the store's longest key
TRUE = ("true", "1", "1.0", "yes", "y", "t")
FALSE = ("false", "0", "0.0", "no", "n", "f")
# What spreadsheets make of long numbers. 12E5 may be a real id: they would write 1.2E+06.
_SCIENTIFIC = r"^[+-]?[0-9]+([.,][0-9]*)?[eE][+-][0-9]+$|^[+-]?[0-9]+[.,][0-9]+[eE][0-9]+$"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRINGS = pa.list_(pa.string())


def texts(column: pa.Array) -> pa.Array:
    """Values as valid UTF-8 text; bytes that are none become U+FFFD."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.cast(pa.string())
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.view(pa.binary()).to_pylist()
        column = pa.array([value if value is None else value.decode("utf-8", "replace") for value in raw])
    return column


def filled_texts(column: pa.Array) -> pa.Array:
    """Values as text without surrounding spaces; null where nothing is left."""
    column = pc.utf8_trim_whitespace(texts(column))
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def ids(column: pa.Array) -> tuple[pa.Array, dict[str, Mask]]:
    """Product ids as text, leading zeros and all, and for each reason to refuse one the rows it holds for."""
    values = pc.utf8_trim(texts(column), " ")
    length = pc.fill_null(pc.binary_length(values), 0)
    return values, {
        "id_missing": mask(pc.equal(length, 0)),
        "id_too_long": mask(pc.greater(length, MAX_ID)),
        "id_not_text": mask(pc.match_substring(values, "\ufffd")),
        "id_control_character": mask(pc.match_substring_regex(values, r"\p{Cc}")),
        "id_scientific": mask(pc.match_substring_regex(values, _SCIENTIFIC)),
    }


def times(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Timestamps, dates or ISO 8601 text as `TIME`; what names no zone is UTC. And which can't be read."""
    if is_text(column.type):
        column = filled_texts(column)
        for target in (pa.timestamp("us"), TIME):  # all without a zone, or all with one
            try:
                return column.cast(target).cast(TIME), nowhere(column)
            except pa.ArrowInvalid:
                continue
        return each(column.to_pylist(), _parse_time, TIME)
    try:
        return _cast_time(column), nowhere(column)
    except pa.ArrowInvalid:  # a year that microseconds can't count to
        return each(
            list(column), lambda value: _cast_time(pa.array([value.as_py()], column.type))[0].value, TIME
        )


def integers(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Numbers, or text of numbers, rounded to int64; NaN and '' are null. And which can't be read."""
    if is_text(column.type):
        column = filled_texts(column)
    elif not pa.types.is_integer(column.type):
        column = column.cast(pa.float64())
        column = pc.round(pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column))
    try:
        return column.cast(pa.int64()), nowhere(column)
    except pa.ArrowInvalid:
        return each(column.to_pylist(), _parse_integer, pa.int64())


def flags(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Booleans, 0 and 1, or the words of TRUE and FALSE in any case; '' is null. And which can't be read."""
    words = pc.utf8_lower(filled_texts(column))
    true = pc.is_in(words, pa.array(TRUE))
    known = pc.or_(true, pc.is_in(words, pa.array(FALSE)))
    return pc.if_else(known, true, pa.scalar(None, pa.bool_())), mask(pc.invert(known)) & mask(
        words.is_valid()
    )


def level_lists(column: pa.Array) -> pa.Array:
    """Category levels as lists: of a list column as they are, of text like ``"Home > Lamps"`` split at >."""
    if is_text(column.type):
        return pc.split_pattern_regex(filled_texts(column), r"\s*>\s*")
    lists = column.cast(_STRINGS)
    try:
        lists.validate(full=True)
    except pa.ArrowInvalid:
        raw = lists.cast(pa.list_(pa.binary())).to_pylist()
        lists = pa.array(
            [row and [level and level.decode("utf-8", "replace") for level in row] for row in raw]
        )
    empty = pc.equal(pc.list_value_length(lists), 0)
    return pc.if_else(empty, pa.scalar(None, _STRINGS), lists)


def joined_lists(columns: Sequence[pa.Array]) -> pa.Array:
    """One list a row of the columns' texts, left to right without the empty ones; null where all are."""
    offsets, _, values, empty = _by_row(columns)
    return pa.ListArray.from_arrays(offsets, values, mask=empty)


def joined_maps(names: Sequence[str], columns: Sequence[pa.Array]) -> pa.Array:
    """One map a row from column name to text, without the empty ones; null where all are."""
    offsets, which, values, empty = _by_row(columns)
    keys = pa.array(names, pa.string()).take(which)
    return pa.MapArray.from_arrays(offsets, keys, values, mask=empty)


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


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def mask(values: pa.Array) -> Mask:
    """A boolean Arrow array as NumPy's; null is false."""
    found: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return found


def nowhere(column: pa.Array) -> Mask:
    """The mask of no row."""
    return np.zeros(len(column), dtype=bool)


def _by_row(columns: Sequence[pa.Array]) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    """Offsets, column numbers and values of the non-empty cells row after row, and which rows have none."""
    filled = [filled_texts(column) for column in columns]
    present = np.stack([mask(column.is_valid()) for column in filled], axis=1)  # rows x columns
    row, which = np.nonzero(present)
    values = pa.concat_arrays(filled).take(pa.array(which * len(present) + row))
    offsets = np.concatenate([[0], present.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.array(offsets), pa.array(which), values, pa.array(~present.any(axis=1))


def _cast_time(column: pa.Array) -> pa.Array:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    return pc.cast(column, options=pc.CastOptions(TIME, allow_time_truncate=True))


def _parse_time(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _parse_integer(value: str | float) -> int:
    try:
        number = int(value) if isinstance(value, str) else round(value)
    except ValueError:
        number = round(float(value))
    if not math.log2(abs(number) or 1) < 63:
        raise OverflowError(f"{number} doesn't fit 64 bits")
    return number
