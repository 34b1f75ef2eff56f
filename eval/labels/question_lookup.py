"""The questions reviewers were asked, to be found by their id or by their two products."""

import re
import unicodedata
from collections import defaultdict
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import QUESTION, check

_AS_TEXT = re.compile('="([^"]*)"')  # how spreadsheets are told that a number is text


class QuestionLookup:
    """Rows of `questions` (QUESTION) by what a label file says of them.

    `anchors[row]` and `products[row]` are the ids of a row as `plain` gives them, which is how ids of
    files are compared with them. Of rows with the same question_id the first is found.
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
        """The row that asks about two products, None where they were not asked about.

        Rather one that names them this way round, and rather the first time than the second.
        Raises: LookupError where they were asked about twice, shown with other pictures or titles: which
        of the two the answer is to can't be told.
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
        return self.questions.select(["pair_id", "role"]).combine_chunks()  # `take` of one chunk is quick


def plain(product_id: str) -> str:
    """An id without the space around it and what keeps it from being a number: `'0012`, `="0012"`."""
    bare = product_id.strip()
    text = _AS_TEXT.fullmatch(bare)
    return (text[1] if text else bare).strip().lstrip("'")


def shows_nothing(cell: str) -> bool:
    """Whether a cell is empty to the eye: nothing, spaces of any kind, characters without width."""
    return all(letter.isspace() or unicodedata.category(letter) in ("Cf", "Cc") for letter in cell)
