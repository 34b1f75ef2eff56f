"""The content of a sheet of questions, independent of its file format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmprod.eval.sheets.cells import guard, protect_id
from mmprod.storage.errors import InputError

COLUMNS = ("pair_id", "anchor_id", "anchor_title", "product_id", "product_title", "label", "reviewer")
"""The header of a sheet. The pair_id cell holds the question's id; a repeated question has another one."""

TITLE_LENGTH = 1_000  # characters shown; a spreadsheet cell holds 32,767
SEARCHED_FOR = "searched for"  # the fact that marks a text instead of a product


@dataclass(frozen=True)
class Side:
    """One of the two things compared: a product, or a text that was searched for.

    `picture`: a thumbnail, JPEG bytes. `facts`: (name, value) pairs to show: price, brand, … A text is given
    as `title`, without a picture and with a fact named SEARCHED_FOR; the page shows it large.
    """

    product_id: str
    title: str
    picture: bytes | None
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def shown_title(self) -> str:
        """The title as shown to reviewers, cut to TITLE_LENGTH characters."""
        return self.title[:TITLE_LENGTH]

    @property
    def is_text(self) -> bool:
        """Whether this is a text that was searched for."""
        return any(name == SEARCHED_FOR for name, _ in self.facts)


@dataclass(frozen=True)
class Row:
    """A question: are `anchor` and `product` the same? `note` is shown to the reviewer, "" for none."""

    question_id: str
    anchor: Side
    product: Side
    note: str = ""
    reviewer: str = ""  # the reviewer asked, "" for anyone

    @property
    def cells(self) -> tuple[str, ...]:
        """The row under COLUMNS, without an answer, each cell protected against spreadsheets.

        Both ids begin with an apostrophe, so that 0012345 stays text; question ids begin with a letter.
        """
        return (
            self.question_id,
            protect_id(self.anchor.product_id),
            guard(self.anchor.shown_title),
            protect_id(self.product.product_id),
            guard(self.product.shown_title),
            "",
            guard(self.reviewer),
        )


def require_rows(rows: Sequence[Row], path: Path) -> None:
    """Raise InputError for a sheet without questions or with a repeated one."""
    if not rows:
        raise InputError(f"no pair to ask about: {path} is not written")
    seen: set[str] = set()
    for row in rows:
        if row.question_id in seen:
            raise InputError(f"question {row.question_id!r} stands on the sheet {path} twice: leave one out")
        seen.add(row.question_id)
