"""One row of a label file: the answer it gives, or why it gives none."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmprod.eval.sheet import unguard

SAME = frozenset(["1", "1.0", "true", "yes", "y", "same", "是", "对", "同", "相同", "相似", "同款"])
NOT_SAME = frozenset(
    {"0", "0.0", "false", "no", "n", "not", "different"}
    | {"否", "不是", "不对", "不同", "不相同", "不相似", "不同款"}
)
"""What a label cell may say, after NFKC, without the space around it, in lower case. Nothing else counts."""

MAX_CELL = 32_767  # characters a spreadsheet cell holds

_NUMBER = re.compile(r"[+-]?\d[\d.,]*(e[+-]?\d+)?", re.IGNORECASE)


class RowError(Exception):
    """Why a row doesn't count; the text is what its reviewer reads."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row says: the pair asked, with its ids the right way round, and `same`, None when left empty."""

    pair_id: str
    anchor_id: str
    product_id: str
    same: bool | None
    reviewer: str
    swapped: bool


def read_answer(
    cells: Sequence[str],
    columns: Mapping[str, int],
    width: int,
    questions: Mapping[str, tuple[str, str]],
    reviewer: str,
) -> Answer:
    """The answer in one row.

    Args: cells: the row; columns: where each column of the sheet is; width: cells of the header;
    questions: (anchor_id, product_id) of each pair_id asked; reviewer: who answered where the row is silent.
    Raises: RowError.
    """
    _check_shape(cells, columns, width)
    cell = {name: unguard(cells[at]) if at < len(cells) else "" for name, at in columns.items()}
    anchor, product, swapped = _question(cell, questions)
    same = _label(cell["label"])
    who = cell.get("reviewer", "").strip() or reviewer
    if same is not None and not who:
        raise RowError("no reviewer: fill in the reviewer column, or say whose file it is")
    return Answer(cell["pair_id"].strip(), anchor, product, same, who, swapped)


def _check_shape(cells: Sequence[str], columns: Mapping[str, int], width: int) -> None:
    """Spreadsheets leave off trailing empty cells, so a row may end before its label, but nowhere else."""
    if len(cells) != width and not columns["product_id"] < len(cells) <= columns["label"]:
        raise RowError(f"{len(cells)} cells where the header has {width}")
    longest = max(map(len, cells))
    if longest > MAX_CELL:
        raise RowError(f"a cell of {longest} characters, want at most {MAX_CELL}")


def _question(cell: Mapping[str, str], questions: Mapping[str, tuple[str, str]]) -> tuple[str, str, bool]:
    """The ids of the pair a row is about, and whether it names them the other way round."""
    name = cell["pair_id"].strip()
    if name not in questions:
        raise RowError(f"pair_id {name[:60]!r} {_mangled(name) or 'is not a pair that was asked'}")
    if cell["anchor_id"].strip() == cell["product_id"].strip():
        raise RowError(f"anchor and product are the same: {cell['anchor_id'][:60]!r}")
    anchor, product = questions[name]
    if _is(cell["anchor_id"], anchor) and _is(cell["product_id"], product):
        return anchor, product, False
    if _is(cell["anchor_id"], product) and _is(cell["product_id"], anchor):
        return anchor, product, True
    wrong, want = ("anchor_id", anchor) if not _is(cell["anchor_id"], anchor) else ("product_id", product)
    found = cell[wrong].strip()
    raise RowError(f"{wrong} {found[:60]!r} {_mangled(found) or 'is not of this pair'}, want {want!r}")


def _is(cell: str, product_id: str) -> bool:
    """Whether a cell names a product, however many apostrophes protect it (each trip through us adds one)."""
    return cell.strip().lstrip("'") == product_id.strip().lstrip("'")


def _mangled(cell: str) -> str:
    return "looks like a number that a spreadsheet made of an id" if _NUMBER.fullmatch(cell) else ""


@lru_cache(maxsize=256)
def _label(cell: str) -> bool | None:
    word = unicodedata.normalize("NFKC", cell).strip().lower()
    if word and word not in SAME | NOT_SAME:
        raise RowError(f"label {cell[:60]!r} is not understood: write 1 (same) or 0 (not)")
    return word in SAME if word else None
