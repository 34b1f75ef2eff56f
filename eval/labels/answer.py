"""Parses one row of a label file: its answer, or the reason why it has none."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from mmprod.datasets.tables.textfile import Record
from mmprod.eval.labels.question_lookup import QuestionLookup, plain, shows_nothing
from mmprod.eval.labels.source import Columns
from mmprod.eval.sheets.cells import unguard

SAME = frozenset(["1", "1.0", "true", "yes", "y", "same", "是", "对", "同", "相同", "相似", "同款"])
NOT_SAME = frozenset(
    {"0", "0.0", "false", "no", "n", "not", "different"}
    | {"否", "不是", "不对", "不同", "不相同", "不相似", "不同款"}
)
"""Accepted labels, after NFKC, stripping and lower-casing. Anything else is rejected."""

MAX_CELL = 32_767  # characters a spreadsheet cell holds

_UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff "  # invisible characters, stripped from the ends of a
# pasted name
_NUMBER = re.compile(r"[+-]?\d[\d.,]*(e[+-]?\d+)?", re.IGNORECASE)


class RowError(Exception):
    """A row is rejected; the message is shown to its reviewer."""


class Answer(NamedTuple):
    """The answer of a row: the question's row, and `same`, None if the label is empty."""

    question: int
    same: bool | None
    reviewer: str
    swapped: bool  # anchor and product are exchanged
    protected: bool  # an id is written '… or ="…"


def read_answer(
    row: Record, columns: Columns, lookup: QuestionLookup, reviewer: str, reviewers: Collection[str] = ()
) -> Answer:
    """The answer of a row; `reviewer` is used if the row names none.

    If `reviewers` are given, answers of others are rejected. Raises: RowError.
    """
    cells = row.cells
    if row.error:
        raise RowError(row.error)
    _check_shape(cells, columns)
    ids = cells[columns.anchor_id], cells[columns.product_id]
    for name, cell in zip(("anchor_id", "product_id"), ids, strict=True):
        if shows_nothing(cell):
            raise RowError(f"{name} shows nothing: {cell[:60]!r}")
    anchor, product = map(plain, ids)
    if anchor == product:
        raise RowError(f"anchor and product are the same: {anchor[:60]!r}")
    if columns.pair_id is None:
        question = _by_products(anchor, product, lookup)
    else:
        question = _by_id(cells[columns.pair_id].strip(), anchor, product, lookup)
    same = _label(_cell(cells, columns.label))
    who = reviewer_name(_cell(cells, columns.reviewer)) or reviewer
    if same is not None and not who:
        raise RowError("no reviewer: fill in the reviewer column, or say whose file it is")
    if same is not None and reviewers:
        _check_known(who, reviewers)
    protected = anchor != ids[0].strip() or product != ids[1].strip()
    return Answer(question, same, who, anchor != lookup.anchors[question], protected)


def _check_known(who: str, reviewers: Collection[str]) -> None:
    if who in reviewers:
        return
    names = {name.casefold(): name for name in reviewers}
    near = get_close_matches(who.casefold(), names, 1)
    meant = f"did you mean {names[near[0]]!r}?" if near else f"known are {', '.join(sorted(reviewers))[:200]}"
    raise RowError(f"reviewer {who[:60]!r} is nobody known here: {meant}")


def _check_shape(cells: Sequence[str], columns: Columns) -> None:
    """Raise RowError for a wrong number of cells and for a cell of more than MAX_CELL characters.

    Spreadsheets omit trailing empty cells, so a row may end before its label, but not before that.
    """
    ids = max(columns.anchor_id, columns.product_id, columns.pair_id or 0)
    if len(cells) != columns.width and not ids < len(cells) <= columns.label:
        raise RowError(f"{len(cells)} cells where the header has {columns.width}")
    longest = max(map(len, cells))
    if longest > MAX_CELL:
        raise RowError(f"a cell of {longest} characters, want at most {MAX_CELL}")


def _cell(cells: Sequence[str], at: int | None) -> str:
    return cells[at] if at is not None and at < len(cells) else ""


def _by_id(name: str, anchor: str, product: str, lookup: QuestionLookup) -> int:
    """The question of a pair_id cell. Both ids of the row must fit, in case cells were shifted."""
    question = lookup.by_id.get(name)
    if question is None:
        raise RowError(f"pair_id {name[:60]!r} {_mangled(name) or 'is not a pair that was asked'}")
    ids = lookup.anchors[question], lookup.products[question]
    if (anchor, product) == ids or (product, anchor) == ids:
        return question
    column, cell, want = next(
        (column, cell, want)
        for column, cell, want in zip(("anchor_id", "product_id"), (anchor, product), ids, strict=True)
        if cell != want
    )
    raise RowError(f"{column} {cell[:60]!r} {_mangled(cell) or 'is not of this pair'}, want {want!r}")


def _by_products(anchor: str, product: str, lookup: QuestionLookup) -> int:
    try:
        question = lookup.by_products(anchor, product)
    except LookupError as error:
        raise RowError(
            "these two were asked about more than once, with other pictures or titles: pair_id is needed"
        ) from error
    if question is None:
        mangled = _mangled(anchor) or _mangled(product)
        raise RowError(
            f"{anchor[:60]!r} and {product[:60]!r} are not a pair that was asked"
            + (f": one {mangled}" if mangled else "")
        )
    return question


def _mangled(cell: str) -> str:
    return "looks like a number that a spreadsheet made of an id" if _NUMBER.fullmatch(cell) else ""


@lru_cache(maxsize=256)
def _label(cell: str) -> bool | None:
    word = unicodedata.normalize("NFKC", unguard(cell)).strip().lower()
    if word and word not in SAME | NOT_SAME:
        raise RowError(f"label {cell[:60]!r} is not understood: write 1 (same) or 0 (not)")
    return word in SAME if word else None


@lru_cache(maxsize=256)
def reviewer_name(cell: str) -> str:
    """A normalised name, so that one person has one name: composed letters, single plain spaces.

    Raises: RowError for control characters.
    """
    name = unguard(cell).strip()
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise RowError(f"reviewer {name[:60]!r} has characters that are no part of a name")
    return "" if shows_nothing(name) else " ".join(unicodedata.normalize("NFC", name).split()).strip(_UNSEEN)
