"""Finds questions by their id or by their two products."""

import re
import unicodedata
from collections import defaultdict
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import QUESTION, check

_AS_TEXT = re.compile('="([^"]*)"')  # marks a number as text in spreadsheets


class QuestionLookup:
    """Finds rows of `questions` (QUESTION).

    `anchors[row]` and `products[row]` are a row's ids as returned by `plain`; ids of files are compared in
    the same form. Of several rows with one question_id, the first is found.
    Raises: InputError for a table with other columns.
    """

    def __init__(self, questions: pa.Table) -> None:
        check(questions, QUESTION, "questions")
        self.questions = questions
        self.anchors = [plain(name) for name in questions["anchor_id"].to_pylist()]
        self.products = [plain(name) for name in questions["product_id"].to_pylist()]

    @cached_property
    def by_id(self) -> dict[str, int]:
        """The row of each question_id."""
        names = self.questions["question_id"].to_pylist()
        return dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))

    def by_products(self, anchor: str, product: str) -> int | None:
        """The row of the question about two products, None if they were never asked about.

        Rows with the products in this order are preferred, then original questions to repeated ones. Raises:
        LookupError if they were asked about twice, with other pictures or titles: it is then unknown which
        question the answer belongs to.
        """
        rows = self._rows_of.get((min(anchor, product), max(anchor, product)), [])
        if len(rows) < 2:
            return rows[0] if rows else None
        found = self._names.take(rows)
        if len(set(found["pair_id"].to_pylist())) > 1:
            raise LookupError(anchor, product)
        exchanged = [self.anchors[row] != anchor for row in rows]
        again = pc.equal(found["role"], "repeat").to_pylist()
        return min(zip(exchanged, again, rows, strict=True))[-1]

    @cached_property
    def _rows_of(self) -> dict[tuple[str, str], list[int]]:
        found: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for row, ids in enumerate(zip(self.anchors, self.products, strict=True)):
            found[min(ids), max(ids)].append(row)
        return found

    @cached_property
    def _names(self) -> pa.Table:
        return self.questions.select(["pair_id", "role"]).combine_chunks()  # `take` is fast on a single chunk


def plain(product_id: str) -> str:
    """An id without surrounding space and without protection against spreadsheets: `'0012`, `="0012"`."""
    bare = product_id.strip()
    text = _AS_TEXT.fullmatch(bare)
    return (text[1] if text else bare).strip().lstrip("'")


def shows_nothing(cell: str) -> bool:
    """Whether a cell looks empty: it has only spaces of any kind and invisible characters."""
    return all(letter.isspace() or unicodedata.category(letter) in ("Cf", "Cc") for letter in cell)
