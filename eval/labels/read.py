"""Filled-in label files: every row ends as a judgement, is rejected with a reason, or is counted."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import JUDGEMENT
from mmprod.datasets.tables.private_copy import PrivateCopy, private_copy
from mmprod.datasets.tables.textfile import Record, encoding_of
from mmprod.eval.labels.answer import RowError, read_answer, reviewer_name
from mmprod.eval.labels.csv_file import open_csv
from mmprod.eval.labels.deduplicate import Deduplicated, FileAnswers
from mmprod.eval.labels.label_studio import open_label_studio
from mmprod.eval.labels.question_lookup import QuestionLookup
from mmprod.eval.labels.source import Columns, Source
from mmprod.eval.labels.workbook import open_xlsx
from mmprod.storage.errors import InputError

MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class RejectedRow:
    """A row that doesn't count, and why. `line` is the first of its lines, its row of a worksheet, or the
    place of its task, from 1."""

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
    protected: int  # accepted with an id behind an apostrophe or in ="…", as spreadsheets protect them
    encoding: str  # "" for a workbook

    def __post_init__(self) -> None:
        told = self.judgements.num_rows + len(self.rejected) + self.unanswered + self.duplicates + self.blank
        assert told == self.rows, f"{told} rows accounted for, {self.rows} read"

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows, and what became of them: accepted, rejected, unanswered, duplicates and blank are `rows`."""
        return {
            "rows": self.rows,
            "accepted": self.judgements.num_rows,
            "rejected": len(self.rejected),
            "unanswered": self.unanswered,
            "duplicates": self.duplicates,
            "blank": self.blank,
            "swapped": self.swapped,
            "protected": self.protected,
        }


def read_labels(
    path: Path,
    questions: pa.Table,
    judged_at: datetime,
    reviewer: str = "",
    max_bytes: int = MAX_BYTES,
    by_ids: bool = False,
    encoding: str | None = None,
    reviewers: Collection[str] = (),
) -> LabelFile:
    """Read the answers in a CSV file, an XLSX workbook or a JSON export of Label Studio; the content tells.

    A row counts when its pair_id is a question_id of `questions` (QUESTION), both ids are those of the
    question (either way round: swapped is counted), the label is a word of SAME or NOT_SAME and there is
    a reviewer. In a file without a pair_id column the two ids tell the question. An id that a spreadsheet
    made a number of is rejected, never guessed. Where a reviewer answers a question both ways, none of
    these rows counts: each is rejected as a conflict. Columns it doesn't know are ignored.

    Args: judged_at: when the file was handed in, with its time zone; reviewer: who answered, for rows
    that don't say; by_ids: the two ids tell the question even where there is a pair_id column, as in
    another system's file; encoding: of text that is neither marked nor UTF-8, told by likeness when not
    given; reviewers: who may have answered, anybody where empty. Questions whose product is gone aren't
    asked any more: leave them out.
    Memory: of a CSV file, a line; some twenty bytes for each answer; `questions` as Python strings.
    Raises: InputError, with nothing accepted, for a file over `max_bytes`, one that can't be read as any
    of these, without a column it needs or with one of the sheet's twice, for a quote never closed;
    ChangedError for one that changes while it is copied. It is read from that copy.
    """
    with private_copy(path, max_bytes) as file:
        return read_copy(file, questions, judged_at, reviewer, by_ids, encoding, reviewers)


def read_copy(
    file: PrivateCopy,
    questions: pa.Table,
    judged_at: datetime,
    reviewer: str = "",
    by_ids: bool = False,
    encoding: str | None = None,
    reviewers: Collection[str] = (),
) -> LabelFile:
    """As `read_labels`, of a file that has been copied already."""
    if judged_at.tzinfo is None:
        raise InputError(f"judged_at {judged_at} has no time zone")
    lookup = QuestionLookup(questions)
    source = _open(file, encoding)
    columns = Columns.of(source.header, file)
    if by_ids:
        columns = replace(columns, pair_id=None)
    tally = _Tally()
    whose, known = _name(reviewer), {_name(name) for name in reviewers}
    for row in source.read():
        tally.add(row, columns, lookup, whose, known)
    answers = tally.answers.deduplicated()
    rejected = tally.rejected | _rejected_again(source, answers.conflicts)
    return LabelFile(
        header=source.header,
        rows=tally.rows,
        judgements=_judgements(answers, questions, judged_at, file.origin),
        rejected=tuple(rejected[place] for place in sorted(rejected)),
        unanswered=tally.unanswered,
        duplicates=answers.duplicates,
        blank=tally.blank,
        swapped=answers.swapped,
        protected=answers.protected,
        encoding=source.encoding,
    )


def _name(reviewer: str) -> str:
    try:
        return reviewer_name(reviewer)
    except RowError as error:
        raise InputError(str(error)) from error


@dataclass
class _Tally:
    """What the rows read so far have come to."""

    rows: int = 0
    blank: int = 0
    unanswered: int = 0
    answers: FileAnswers = field(default_factory=FileAnswers)
    rejected: dict[int, RejectedRow] = field(default_factory=dict)  # by their place in the file

    def add(
        self, row: Record, columns: Columns, lookup: QuestionLookup, reviewer: str, reviewers: Collection[str]
    ) -> None:
        place = self.rows
        self.rows += 1
        if not any(map(str.strip, row.cells)):
            self.blank += 1
            return
        try:
            answer = read_answer(row, columns, lookup, reviewer, reviewers)
        except RowError as refused:
            self.rejected[place] = RejectedRow(row.line, str(refused), row.cells)
            return
        if answer.same is None:
            self.unanswered += 1
        else:
            self.answers.add(place, row.line, answer)


def _open(file: PrivateCopy, encoding: str | None) -> Source:
    with file.path.open("rb") as data:
        if data.read(4) == b"PK\x03\x04":
            return open_xlsx(file)
    encoding = encoding_of(file, encoding)
    with file.path.open(encoding=encoding) as text:
        start = text.read(1000).lstrip()
    return open_label_studio(file, encoding) if start[:1] in ("[", "{") else open_csv(file, encoding)


def _rejected_again(source: Source, reasons: Mapping[int, str]) -> dict[int, RejectedRow]:
    """Rows that turned out to be in conflict, by their place; the file is read again to tell their cells."""
    if not reasons:
        return {}
    return {
        place: RejectedRow(row.line, reasons[place], row.cells)
        for place, row in enumerate(source.read())
        if place in reasons
    }


def _judgements(answers: Deduplicated, questions: pa.Table, judged_at: datetime, path: Path) -> pa.Table:
    asked = questions.take(pa.array(answers.question))
    sheet = os.fsencode(path.name).decode(errors="replace")  # a name on disk need not be text
    same_for_all = {"judged_at": judged_at, "sheet": sheet}
    columns = {
        "pair_id": asked["pair_id"],
        "anchor_id": asked["anchor_id"],
        "product_id": asked["product_id"],
        "label": pa.array(answers.same),
        "reviewer": pa.array(answers.reviewer, pa.string()),
        "repeat": pc.equal(asked["role"], "repeat"),
    }
    for name, value in same_for_all.items():
        columns[name] = pa.repeat(pa.scalar(value, JUDGEMENT.field(name).type), len(answers.question))
    return pa.table([columns[name] for name in JUDGEMENT.names], schema=JUDGEMENT)
