"""Strict reading of CSV files: every value is text, every record's fields are counted, no line is dropped."""

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.tables.encoding import find_encoding
from mmprod.datasets.tables.id_shape import IdShape
from mmprod.datasets.tables.mapping import TableSpec
from mmprod.datasets.tables.proposal import has_needed
from mmprod.datasets.tables.raw_rows import RawRows, file_name
from mmprod.storage.errors import InputError

log = logging.getLogger(__name__)

_SEP = re.compile(r"sep=(.)", re.IGNORECASE)  # a line that declares the delimiter to spreadsheet programs
_DELIMITERS = ",;\t|"
_MAX_LINE = 16_000_000  # characters
_MAX_BATCH = 32_000_000  # characters
_TITLES = 12  # most lines above the header

Record = tuple[int, list[str], str]
"""A record: its first line, its fields, and why it is refused ("" if it isn't)."""


class CsvTable:
    """One CSV file with a header. All columns are text; an empty field is null.

    `encoding`, `delimiter`, `quote` ("" if quotes are ordinary characters) and `header` (its line from 1) are
    those of the spec, else detected.
    """

    rows = None  # unknown until the file is read

    def __init__(self, path: Path, spec: TableSpec) -> None:
        """Check the encoding, the header and that there is a row. Raises: InputError, naming the file."""
        self.files = [path]
        self._path = path
        self.encoding = find_encoding(path, spec.encoding)
        skipped = range(1, spec.skip_rows + 1) if isinstance(spec.skip_rows, int) else spec.skip_rows
        self._skipped = frozenset(skipped)
        self.header, self.delimiter, first = self._find_header(spec)
        letters = self.delimiter == "\t" and not _all_quoted(first)
        self.quote = spec.quote if spec.quote is not None else "" if letters else '"'
        records = self._records()
        head = next(records, None)
        if head is None or next(records, None) is None:
            raise InputError(f"{path} has no rows; an empty table is refused, it would remove every product")
        self._header = self._check_header(head)
        self.schema = pa.schema([(name, pa.string()) for name in self._header if name])

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows with these columns, at most `batch_rows` at a time; ``columns[0]`` is the id column.

        Reasons to refuse a row: ``ragged`` (more or fewer fields than the header), ``bad_quote`` (text after
        a closing quote), ``field_too_long`` (over `csv.field_size_limit`).
        Raises: InputError, naming the line on which the quote opens, for a quote that is never closed or that
        contains lines which look like rows.
        """
        places = [self._header.index(name) for name in columns]
        kept: list[list[str]] = []
        numbers: list[int] = []
        refused: list[tuple[int, str]] = []
        size = 0
        records = self._records(places[0])
        next(records)
        for line, fields, reason in records:
            if reason:
                refused.append((line, reason))
            else:
                kept.append([fields[place] for place in places])
                numbers.append(line)
                size += sum(map(len, kept[-1]))
            if len(kept) + len(refused) >= batch_rows or size > _MAX_BATCH:
                yield RawRows(_batch(kept, columns), file_name(self._path), numbers, refused)
                kept, numbers, refused, size = [], [], [], 0
        if kept or refused:
            yield RawRows(_batch(kept, columns), file_name(self._path), numbers, refused)

    def _records(self, id_place: int | None = None) -> Iterator[Record]:
        """All records except blank lines, the header first; `id_place`: index of the id column, if known."""
        width = 0
        taken: list[str] = []  # lines of the record being read
        ids = IdShape()
        with self._path.open(encoding=self.encoding, newline="") as file:
            reader = csv.reader(
                _noting(self._lines(file), taken),
                delimiter=self.delimiter,
                quotechar=self.quote or None,
                quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
                strict=True,
            )
            while True:
                start = reader.line_num + 1
                taken.clear()
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield start, [], self._quote_error(error, start, reader.line_num)
                    continue
                if not fields:
                    continue
                width = width or len(fields)
                if len(fields) != width:
                    yield start, [], self._ragged(start, reader.line_num)
                    continue
                if id_place is not None and start > self.header:
                    ids.learn(fields[id_place])
                    self._check_swallowed(taken, start, width, id_place, ids)
                yield start, fields, ""

    def _check_swallowed(self, lines: list[str], start: int, width: int, place: int, ids: IdShape) -> None:
        """Raise InputError when a later line of a record would be a row by itself."""
        for number, line in enumerate(lines[1:], start + 1):
            cells = line.rstrip("\r\n").split(self.delimiter)
            if len(cells) != width:  # read it as a record of its own
                cells = next(csv.reader([line], delimiter=self.delimiter, quotechar=self.quote), [])
            if len(cells) == width and ids.like(cells[place].strip(self.quote)):
                raise InputError(
                    f"{self._path}: the quote opened on line {start} takes in line {number}, which looks "
                    f"like a row: {line[:60].strip()!r}. Close the quote where it should be, or set "
                    'table.quote to "" if quotes are ordinary characters; nothing was changed'
                )

    def _lines(self, file: TextIOWrapper) -> Iterator[str]:
        """The lines of the file; skipped lines come as blank lines."""
        for number, line in enumerate(_bounded(file, self._path), 1):
            yield "\n" if number in self._skipped or number < self.header else line

    def _find_header(self, spec: TableSpec) -> tuple[int, str, list[str]]:
        """The header's line number, the delimiter, and the header's cells.

        The header is the first line that names the columns of ids and titles, as configured or as shops name
        them; else the first line. The delimiter is that of the spec, of a `sep=` line above the header, or
        the one that gives the header the most fields.
        """
        wanted = {spec.columns.get(name, name) for name in ("product_id", "title")}
        with self._path.open(encoding=self.encoding, newline="") as file:
            lines = list(islice(enumerate(_bounded(file, self._path), 1), _TITLES + len(self._skipped)))
        delimiter = spec.delimiter
        lines = [(number, line) for number, line in lines if number not in self._skipped and line.strip()]
        if lines and (told := _SEP.fullmatch(lines[0][1].strip())):
            delimiter = delimiter or told[1]
            lines = lines[1:]
        for number, line in lines:
            between = delimiter or _likely_delimiter(line)
            cells = [cell.strip() for cell in line.split(between)]
            names = [cell.strip('"') for cell in cells]
            if wanted <= {*names} or has_needed(names):
                self._check_above(number, cells, between, lines)
                return number, between, cells
        number, line = lines[0] if lines else (1, "")
        between = delimiter or _likely_delimiter(line)
        return number, between, line.strip().split(between)

    def _quote_error(self, error: csv.Error, start: int, end: int) -> str:
        said = str(error)
        if end > start or "unexpected end" in said:
            raise InputError(f"{self._path}: the quote opened on line {start} is not closed properly")
        return "field_too_long" if "field larger" in said else "bad_quote"

    def _ragged(self, start: int, end: int) -> str:
        if end > start:  # the quote may contain rows, whose products would be taken as removed
            raise InputError(
                f"{self._path}: the quote opened on line {start} closes on line {end}, in a row with a wrong"
                " number of fields; close the quote where it should be"
            )
        return "ragged"

    def _check_above(
        self, header: int, cells: list[str], delimiter: str, lines: Sequence[tuple[int, str]]
    ) -> None:
        """Log the lines above the header; InputError when they may be rows."""
        above = [(number, line) for number, line in lines if number < header]
        for number, line in above:
            if len(line.split(delimiter)) == len(cells):
                raise InputError(
                    f"{self._path}: line {number} stands above the header in line {header} and has as many "
                    "cells: is it a row? If not, name it in table.skip_rows"
                )
        if above:
            log.info("%s: the header is line %d", self._path, header)

    def _check_header(self, first: Record) -> list[str]:
        _, fields, reason = first
        if reason:
            raise InputError(f"{self._path}: the header can't be read ({reason})")
        names = [name.strip() for name in fields]
        repeated = sorted({name for name in names if name and names.count(name) > 1})
        if repeated:
            raise InputError(f"{self._path}: repeated columns {', '.join(repeated)}")
        return names


def _all_quoted(cells: list[str]) -> bool:
    return all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)


def _likely_delimiter(line: str) -> str:
    """The delimiter that gives `line` the most fields."""
    bare = "".join(line.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _bounded(file: TextIOWrapper, path: Path) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise InputError(f"{path}: a line is longer than {_MAX_LINE} characters; is it a CSV file?")
        yield line


def _noting(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _batch(rows: list[list[str]], columns: list[str]) -> pa.RecordBatch:
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    texts = [pa.array(column, pa.string()) for column in values]
    empty = pa.scalar(None, pa.string())
    return pa.RecordBatch.from_arrays(
        [pc.if_else(pc.equal(text, ""), empty, text) for text in texts], names=columns
    )
