"""A label file as rows of cells under a header, whatever form it has."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmprod.datasets.tables.textfile import Record
from mmprod.eval.sheets.cells import unguard
from mmprod.eval.sheets.sheet import COLUMNS
from mmprod.storage.errors import InputError

NEEDED = ("anchor_id", "product_id", "label")
ABOVE = 10  # rows looked through for the header: a title may stand above it


@dataclass(frozen=True)
class Source:
    """A label file that has been opened: `read` gives the rows after the header, from the first each time."""

    header: tuple[str, ...]
    encoding: str  # of its text, "" for a workbook
    read: Callable[[], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each column of a sheet stands in a file, None where the file doesn't have it."""

    anchor_id: int
    product_id: int
    label: int
    pair_id: int | None
    reviewer: int | None
    width: int

    @classmethod
    def of(cls, header: Sequence[str], path: object) -> "Columns":
        """Raises: InputError, naming `path`, where a column is missing or one of a sheet's is there twice."""
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
    """Whether a row has the columns of a sheet that no file can do without."""
    return set(NEEDED) <= set(column_names(cells))


def check_title(cells: Sequence[str], line: int, file: object) -> None:
    """Raise InputError where a row above the header may be an answer that a title would hide."""
    filled = sum(bool(cell.strip()) for cell in cells)
    if filled >= len(NEEDED):
        raise InputError(
            f"{file}: row {line} stands above the header and has {filled} filled cells: is it an answer? "
            "Put the header above all answers"
        )


def column_names(header: Sequence[str]) -> list[str]:
    """The cells of a header as a sheet writes them: in lower case, without space or apostrophe."""
    return [unguard(name).strip().lower() for name in header]
