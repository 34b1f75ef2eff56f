"""Reads filled-in label files: each row becomes a judgement, is rejected with a reason, or is counted."""

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
    """A rejected row and its reason. `line`: its first line, worksheet row, or task number, from 1."""

    line: int
    reason: str
    cells: tuple[str, ...]  # as in the file; the whole line as one cell if it has no cells


@dataclass(frozen=True)
class LabelFile:
    """The content of a label file. Every row is in exactly one of the counts: accepted, rejected, others."""

    header: tuple[str, ...]
    rows: int  # records after the header
    judgements: pa.Table  # JUDGEMENT, in the order of the file
    rejected: tuple[RejectedRow, ...]  # in the order of the file
    unanswered: int  # rows with an empty label
    duplicates: int  # repeated equal answers of one reviewer
    blank: int  # rows without any content
    swapped: int  # accepted with anchor and product exchanged
    protected: int  # accepted with an id protected against spreadsheets: '… or ="…"
    encoding: str  # "" for a workbook

    def __post_init__(self) -> None:
        told = self.judgements.num_rows + len(self.rejected) + self.unanswered + self.duplicates + self.blank
        assert told == self.rows, f"{told} rows accounted for, {self.rows} read"

    @property
    def counts(self) -> Mapping[str, int]:
        """The counts by name; accepted + rejected + unanswered + duplicates + blank = rows."""
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
    """Read the answers of a CSV file, an XLSX workbook or a JSON export of Label Studio.

    The format is detected from the content. A row counts if its pair_id is a question_id of `questions`
    (QUESTION), both ids are those of the question (in either order; exchanged ones are counted as swapped),
    the label is a word of SAME or NOT_SAME, and there is a reviewer. In a file without a pair_id column the
    two ids identify the question. An id that a spreadsheet turned into a number is rejected, never guessed.
    If a reviewer answers a question both ways, each of these rows is rejected as a conflict. Unknown columns
    are ignored.

    Args: judged_at: when the file was handed in, with time zone; reviewer: for rows that name none; by_ids:
    identify questions by the two ids even if there is a pair_id column, as for other systems' files;
    encoding: of text that is neither marked nor UTF-8, default: detected; reviewers: the accepted reviewers,
    anybody if empty. Leave questions about removed products out of `questions`.
    Memory: one line of a CSV file; about twenty bytes per answer; `questions` as Python strings.

    The file is copied first and read from the copy. Raises: InputError, with nothing accepted, for a file
    over `max_bytes`, of another format, without a required column or with a sheet's column twice, and for a
    quote never closed; ChangedError for a file that changes while it is copied.
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
    """As `read_labels`, for a file that has already been copied."""
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
    """The results of the rows read so far."""

    rows: int = 0
    blank: int = 0
    unanswered: int = 0
    answers: FileAnswers = field(default_factory=FileAnswers)
    rejected: dict[int, RejectedRow] = field(default_factory=dict)  # by index in the file

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
    """The rows in conflict, by index; the file is read a second time for their cells."""
    if not reasons:
        return {}
    return {
        place: RejectedRow(row.line, reasons[place], row.cells)
        for place, row in enumerate(source.read())
        if place in reasons
    }


def _judgements(answers: Deduplicated, questions: pa.Table, judged_at: datetime, path: Path) -> pa.Table:
    asked = questions.take(pa.array(answers.question))
    sheet = os.fsencode(path.name).decode(errors="replace")  # a file name need not be valid text
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
