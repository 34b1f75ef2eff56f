"""A label file of any format as rows of cells under a header."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmprod.datasets.tables.textfile import Record
from mmprod.eval.sheets.cells import unguard
from mmprod.eval.sheets.sheet import COLUMNS
from mmprod.storage.errors import InputError

NEEDED = ("anchor_id", "product_id", "label")
ABOVE = 10  # rows searched for the header: there may be a title above it


@dataclass(frozen=True)
class Source:
    """An open label file: each call of `read` iterates over the rows after the header."""

    header: tuple[str, ...]
    encoding: str  # of its text, "" for a workbook
    read: Callable[[], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class Columns:
    """The index of each column of a sheet in a file, None if the file lacks it."""

    anchor_id: int
    product_id: int
    label: int
    pair_id: int | None
    reviewer: int | None
    width: int

    @classmethod
    def of(cls, header: Sequence[str], path: object) -> "Columns":
        """From a header. Raises: InputError, naming `path`, if a column is missing or repeated."""
        names = column_names(header)
        if missing := [name for name in NEEDED if name not in names]:
            raise InputError(
                f"{path}: no column {', '.join(missing)}; the header is {', '.join(header)[:200]!r}"
            )
        if twice := [name for name in COLUMNS if names.count(name) > 1]:
            raise InputError(f"{path}: column {', '.join(twice)} comes twice in the header")
        at = {name: place for place, name in enumerate(names)}
        anchor_id, product_id, label = (at[name] for name in NEEDED)
        return cls(anchor_id, product_id, label, at.get("pair_id"), at.get("reviewer"), len(names))


def is_header(cells: Sequence[str]) -> bool:
    """Whether a row contains the names of all required columns."""
    return set(NEEDED) <= set(column_names(cells))


def check_title(cells: Sequence[str], line: int, file: object) -> None:
    """Raise InputError if a row above the header could be an answer instead of a title."""
    filled = sum(bool(cell.strip()) for cell in cells)
    if filled >= len(NEEDED):
        raise InputError(
            f"{file}: row {line} stands above the header and has {filled} filled cells: is it an answer? "
            "Put the header above all answers"
        )


def column_names(header: Sequence[str]) -> list[str]:
    """The cells of a header in the form of a sheet: lower case, without surrounding space or apostrophe."""
    return [unguard(name).strip().lower() for name in header]
