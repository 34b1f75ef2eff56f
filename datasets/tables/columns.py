"""Conversion of a table's columns to the types of schema `PRODUCT`, a batch at a time.

Values that can't be converted become null, and a mask marks them. Rows are converted one by one in Python
only when the whole column can't be converted at once.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.text import decode_entities

Mask = npt.NDArray[np.bool_]

MAX_ID = 511  # bytes: the store's longest key
# How spreadsheets write long numbers. 12E5 may be a real id: a spreadsheet would write 1.2E+06.
_SCIENTIFIC = r"^[+-]?[0-9]+([.,][0-9]*)?[eE][+-][0-9]+$|^[+-]?[0-9]+[.,][0-9]+[eE][0-9]+$"
_STRINGS = pa.list_(pa.string())
# Spaces of all widths and zero-width characters: an id of only these counts as missing.
_BLANKS = (
    " \xa0\xad\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d"
    "\u2060\u202f\u205f\u3000\ufeff"
)
# How files mark an id as text for spreadsheets: ="0012345" and '0012345.
_PROTECTED = ((r'^="(.*)"$', r"\1"), (r"^'([0-9].*)$", r"\1"))


def texts(column: pa.Array) -> pa.Array:
    """Values as valid UTF-8 text; invalid bytes become U+FFFD."""
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
    """Values as text without surrounding spaces; null where the text is empty."""
    column = pc.utf8_trim_whitespace(texts(column))
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def ids(column: pa.Array) -> tuple[pa.Array, dict[str, Mask]]:
    """Product ids as text with leading zeros kept, and for each reason to refuse an id a mask of the rows.

    Blanks around an id and spreadsheet quoting are removed (`plain_ids`).
    """
    values = plain_ids(column)
    length = pc.fill_null(pc.binary_length(values), 0)
    return values, {
        "id_missing": mask(pc.equal(length, 0)),
        "id_too_long": mask(pc.greater(length, MAX_ID)),
        "id_not_text": mask(pc.match_substring(values, "\ufffd")),
        "id_control_character": mask(pc.match_substring_regex(values, r"\p{Cc}")),
        "id_scientific": mask(pc.match_substring_regex(values, _SCIENTIFIC)),
    }


def plain_ids(column: pa.Array) -> pa.Array:
    """Ids without blanks around them and without quoting: ``="0012345"`` and ``'0012345`` become 0012345."""
    values = pc.utf8_trim(texts(column), _BLANKS)
    if not pc.any(pc.match_substring_regex(values, "^[='][\"0-9]")).as_py():  # a fast check: quoting is rare
        return values
    for pattern, plain in _PROTECTED:
        values = pc.replace_substring_regex(values, pattern, plain)
    return pc.utf8_trim(values, _BLANKS)


def unescaped(column: pa.Array) -> pa.Array:
    """Texts with HTML entities decoded."""
    if not pc.any(pc.match_substring(column, "&")).as_py():
        return column
    return pa.array([text and decode_entities(text) for text in column.to_pylist()], pa.string())


def several(column: pa.Array, separator: str | None) -> pa.Array:
    r"""The values in each cell as a list of texts, null where there is none.

    A list column is kept. A text is split at `separator`, if given; a separator after a backslash does not
    split.
    """
    if column.null_count == len(column):
        return pa.nulls(len(column), _STRINGS)
    if not is_text(column.type):
        parts = column.cast(_STRINGS).to_pylist()
    elif separator is None:
        parts = [text and [text] for text in filled_texts(column).to_pylist()]
    else:
        cut = re.compile(rf"(?<!\\){re.escape(separator)}")
        parts = [
            text and [part.replace("\\" + separator, separator) for part in cut.split(text)]
            for text in filled_texts(column).to_pylist()
        ]
    return pa.array([_filled(row) for row in parts], _STRINGS)


def first_and_others(lists: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The first text of each list, and the list of the others; null where there are none."""
    rows = lists.to_pylist()
    first = pa.array([row[0] if row else None for row in rows], pa.string())
    return first, pa.array([row[1:] or None if row else None for row in rows], _STRINGS)


def concatenated(lists: Sequence[pa.Array]) -> pa.Array:
    """Concatenate the lists of several columns row by row, each text once; null where all are null."""
    lists = [column for column in lists if column.null_count < len(column)] or lists[:1]
    if lists[0].null_count == len(lists[0]):
        return lists[0]
    rows = zip(*(column.to_pylist() for column in lists), strict=True)
    joined = [list(dict.fromkeys(text for texts in row for text in texts or ())) for row in rows]
    return pa.array([texts or None for texts in joined], _STRINGS)


def _filled(parts: list[str | None] | None) -> list[str] | None:
    return [part.strip() for part in parts or () if part and part.strip()] or None


def level_lists(column: pa.Array) -> pa.Array:
    """Category levels as lists: a list column is kept, text like ``"Home > Lamps"`` is split at >."""
    if is_text(column.type):
        return pc.split_pattern_regex(unescaped(filled_texts(column)), r"\s*>\s*")
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
    """One list a row of the columns' non-empty texts, left to right; null where all are empty."""
    offsets, _, values, empty = _by_row(columns)
    return pa.ListArray.from_arrays(offsets, values, mask=empty)


def joined_maps(names: Sequence[str], columns: Sequence[pa.Array]) -> pa.Array:
    """One map a row from column name to non-empty text; null where all are empty."""
    offsets, which, values, empty = _by_row(columns)
    keys = pa.array(names, pa.string()).take(which)
    return pa.MapArray.from_arrays(offsets, keys, values, mask=empty)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def mask(values: pa.Array) -> Mask:
    """A boolean Arrow array as a NumPy array; null becomes false."""
    found: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return found


def nowhere(column: pa.Array) -> Mask:
    """A mask that is false for every row."""
    return np.zeros(len(column), dtype=bool)


def _by_row(columns: Sequence[pa.Array]) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
    """Offsets, column numbers and values of the non-empty cells, row by row, and a mask of empty rows."""
    filled = [filled_texts(column) for column in columns]
    present = np.stack([mask(column.is_valid()) for column in filled], axis=1)  # rows x columns
    row, which = np.nonzero(present)
    values = pa.concat_arrays(filled).take(pa.array(which * len(present) + row))
    offsets = np.concatenate([[0], present.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.array(offsets), pa.array(which), values, pa.array(~present.any(axis=1))
