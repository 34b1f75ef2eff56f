"""Filled-in label files: every row ends as a judgement, is rejected with a reason, or is counted."""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.errors import InputError
from mmprod.datasets.files import replace_file
from mmprod.datasets.schemas import JUDGEMENT, PAIR, check
from mmprod.datasets.textfile import Record, delimiter_of, read_text, records
from mmprod.eval.label_rows import Answer, RowError, read_answer
from mmprod.eval.sheet import COLUMNS, guard

MAX_BYTES = 256 << 20
_NEEDED = ("pair_id", "anchor_id", "product_id", "label")


@dataclass(frozen=True)
class RejectedRow:
    """A row that doesn't count, and why. `line` is the first of its lines in the file, from 1."""

    line: int
    reason: str
    cells: tuple[str, ...]  # as they stood in the file; the whole line as one cell where it has no cells


@dataclass(frozen=True)
class LabelFile:
    """What a label file held: accepted, rejected and counted rows together are the rows of the file."""

    header: tuple[str, ...]
    rows: int  # records after the header
    judgements: pa.Table  # JUDGEMENT, in the order of the file
    rejected: tuple[RejectedRow, ...]  # in the order of the file
    unanswered: int  # a pair that was asked, its label left empty
    duplicates: int  # the same answer of the same reviewer again
    blank: int  # rows without any content
    swapped: int  # accepted although anchor and product had changed places
    encoding: str

    def __post_init__(self) -> None:
        told = self.judgements.num_rows + len(self.rejected) + self.unanswered + self.duplicates + self.blank
        assert told == self.rows, f"{told} rows accounted for, {self.rows} read"


def read_labels(
    path: Path, pairs: pa.Table, judged_at: datetime, reviewer: str = "", max_bytes: int = MAX_BYTES
) -> LabelFile:
    """Read the answers in a CSV file (`read_text` and `delimiter_of` say which kinds are understood).

    A row counts when its pair_id is one of `pairs` (PAIR), both ids are those of the pair (either way
    round: swapped is counted), the label is a word of SAME or NOT_SAME and there is a reviewer. An id
    that a spreadsheet made a number of is rejected, never guessed. Where a reviewer answers a pair both
    ways, none of these rows counts: each is rejected as a conflict. Columns it doesn't know are ignored.

    Args: judged_at: when the file was handed in, with its time zone; reviewer: who answered, for rows
    that don't say. Pairs whose product is gone aren't asked any more: leave them out of `pairs`.
    Raises: InputError, with nothing accepted, for a file over `max_bytes`, one that isn't text, without
    a column it needs or with one of the sheet's twice, and for a quote that is never closed.
    """
    check(pairs, PAIR, "pairs")
    if judged_at.tzinfo is None:
        raise InputError(f"judged_at {judged_at} has no time zone")
    text, encoding = read_text(path, max_bytes)
    rows = records(text, delimiter_of(text, path), path)
    header = next(rows).cells
    reading = _Reading(_columns(header, path), len(header), _questions(pairs), reviewer.strip())
    for row in rows:
        reading.add(row)
    return reading.result(header, judged_at, path.name, encoding)


def write_rejected(path: Path, labels: LabelFile) -> None:
    """Write the rejected rows for whoever handed them in: line, reason and the cells as they came.

    A CSV like that of `write_sheet`, formulas made harmless. Put right, it is a label file again.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["line", "reason", *map(guard, labels.header)])
    for row in labels.rejected:
        writer.writerow([row.line, *map(guard, (row.reason, *row.cells))])
    replace_file(path, text.getvalue().encode("utf-8-sig"))


class _Reading:
    """Rows of one file as they come in."""

    def __init__(
        self, columns: Mapping[str, int], width: int, questions: Mapping[str, tuple[str, str]], reviewer: str
    ) -> None:
        self._columns, self._width = columns, width
        self._questions, self._reviewer = questions, reviewer
        self._rows = self._blank = self._unanswered = 0
        self._rejected: list[RejectedRow] = []
        self._answers: defaultdict[tuple[str, str], list[tuple[Record, Answer]]] = defaultdict(list)

    def add(self, row: Record) -> None:
        self._rows += 1
        if not any(cell.strip() for cell in row.cells):
            self._blank += 1
            return
        try:
            if row.error:
                raise RowError(row.error)
            answer = read_answer(row.cells, self._columns, self._width, self._questions, self._reviewer)
        except RowError as refused:
            self._rejected.append(RejectedRow(row.line, str(refused), row.cells))
            return
        if answer.same is None:
            self._unanswered += 1
        else:
            self._answers[answer.pair_id, answer.reviewer].append((row, answer))

    def result(self, header: tuple[str, ...], judged_at: datetime, sheet: str, encoding: str) -> LabelFile:
        kept, duplicates, conflicts = self._settle()
        return LabelFile(
            header=header,
            rows=self._rows,
            judgements=_judgements(kept, judged_at, sheet),
            rejected=tuple(sorted([*self._rejected, *conflicts], key=lambda row: row.line)),
            unanswered=self._unanswered,
            duplicates=duplicates,
            blank=self._blank,
            swapped=sum(answer.swapped for answer in kept),
            encoding=encoding,
        )

    def _settle(self) -> tuple[list[Answer], int, list[RejectedRow]]:
        """The first of each reviewer's answers to a pair where they agree, how many repeat it, and the
        rows of those that don't agree."""
        kept, duplicates, conflicts = [], 0, []
        for given in self._answers.values():
            if len({answer.same for _, answer in given}) == 1:
                kept.append(given[0][1])
                duplicates += len(given) - 1
                continue
            reason = f"conflict: answered both ways on lines {', '.join(str(row.line) for row, _ in given)}"
            conflicts += [RejectedRow(row.line, reason, row.cells) for row, _ in given]
        return kept, duplicates, conflicts


def _questions(pairs: pa.Table) -> dict[str, tuple[str, str]]:
    ids = (pairs.column(name).to_pylist() for name in ("pair_id", "anchor_id", "product_id"))
    return {name: (anchor, product) for name, anchor, product in zip(*ids, strict=True)}


def _columns(header: tuple[str, ...], path: Path) -> dict[str, int]:
    """Where each column of the sheet is. Raises InputError for one that is missing or there twice."""
    names = [name.strip().lower() for name in header]
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; the header is {', '.join(header)[:200]!r}")
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column {', '.join(twice)} comes twice in the header")
    return {name: names.index(name) for name in (*_NEEDED, "reviewer") if name in names}


def _judgements(answers: list[Answer], judged_at: datetime, sheet: str) -> pa.Table:
    columns = {
        "pair_id": [answer.pair_id for answer in answers],
        "anchor_id": [answer.anchor_id for answer in answers],
        "product_id": [answer.product_id for answer in answers],
        "label": [answer.same for answer in answers],
        "reviewer": [answer.reviewer for answer in answers],
        "judged_at": [judged_at] * len(answers),
        "sheet": [sheet] * len(answers),
    }
    return pa.Table.from_pydict(columns, schema=JUDGEMENT)
