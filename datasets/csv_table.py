"""CSV files read strictly: every value is text, every record's fields are counted, no line goes unnoticed."""

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.encoding import find_encoding
from mmprod.datasets.errors import InputError
from mmprod.datasets.raw_rows import RawRows

_DELIMITERS = ",;\t|"
_MAX_LINE = 16_000_000  # characters
_MAX_BATCH = 32_000_000  # characters

Record = tuple[int, list[str], str]
"""The line it begins on, its fields, and why it is refused ("" where it isn't)."""


class CsvTable:
    """One CSV file with a header. Its columns are all text, and an empty field is null."""

    rows = None  # unknown before it is read

    def __init__(self, path: Path, encoding: str | None, delimiter: str | None) -> None:
        """Check encoding, header and that there is a row. Raises: InputError, naming the file."""
        self.files = [path]
        self._path = path
        self._encoding = find_encoding(path, encoding)
        self._delimiter = delimiter or self._likely_delimiter()
        records = self._records()
        first = next(records, None)
        if first is None or next(records, None) is None:
            raise InputError(f"{path} has no rows; an empty table is refused, it would remove every product")
        self._header = self._check_header(first)
        self.schema = pa.schema([(name, pa.string()) for name in self._header if name])

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows, with these columns, `batch_rows` at a time (fewer where they are very long).

        Refused with their line: ``ragged`` (more or fewer fields than the header), ``bad_quote`` (text after
        a closing quote), ``field_too_long`` (over `csv.field_size_limit`).
        Raises: InputError for a quote that is never closed, naming the line it opens on.
        """
        places = [self._header.index(name) for name in columns]
        kept: list[list[str]] = []
        numbers: list[int] = []
        refused: list[tuple[int, str]] = []
        size = 0
        records = self._records()
        next(records)
        for line, fields, reason in records:
            if reason:
                refused.append((line, reason))
            else:
                kept.append([fields[place] for place in places])
                numbers.append(line)
                size += sum(map(len, kept[-1]))
            if len(kept) + len(refused) >= batch_rows or size > _MAX_BATCH:
                yield RawRows(_batch(kept, columns), self._path.name, numbers, refused)
                kept, numbers, refused, size = [], [], [], 0
        if kept or refused:
            yield RawRows(_batch(kept, columns), self._path.name, numbers, refused)

    def _records(self) -> Iterator[Record]:
        """All records but blank lines, the header first."""
        width = 0
        with self._path.open(encoding=self._encoding, newline="") as file:
            reader = csv.reader(_lines(file, self._path), delimiter=self._delimiter, strict=True)
            while True:
                start = reader.line_num + 1
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
                if len(fields) == width:
                    yield start, fields, ""
                else:
                    yield start, [], self._ragged(start, reader.line_num)

    def _quote_error(self, error: csv.Error, start: int, end: int) -> str:
        said = str(error)
        if end > start or "unexpected end" in said:
            raise InputError(f"{self._path}: the quote opened on line {start} is not closed properly")
        return "field_too_long" if "field larger" in said else "bad_quote"

    def _ragged(self, start: int, end: int) -> str:
        if end > start:  # it may have swallowed rows that are then missed as if they had been removed
            raise InputError(
                f"{self._path}: the quote opened on line {start} closes on line {end}, in a row with a wrong"
                " number of fields; close the quote where it should be"
            )
        return "ragged"

    def _likely_delimiter(self) -> str:
        """The delimiter that gives the first line the most fields."""
        with self._path.open(encoding=self._encoding, newline="") as file:
            first = next(_lines(file, self._path), "")
        bare = "".join(first.split('"')[::2])
        return max(_DELIMITERS, key=bare.count)

    def _check_header(self, first: Record) -> list[str]:
        _, fields, reason = first
        if reason:
            raise InputError(f"{self._path}: the header can't be read ({reason})")
        names = [name.strip() for name in fields]
        repeated = sorted({name for name in names if name and names.count(name) > 1})
        if repeated:
            raise InputError(f"{self._path}: repeated columns {', '.join(repeated)}")
        return names


def _lines(file: TextIOWrapper, path: Path) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise InputError(f"{path}: a line is longer than {_MAX_LINE} characters; is it a CSV file?")
        yield line


def _batch(rows: list[list[str]], columns: list[str]) -> pa.RecordBatch:
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    texts = [pa.array(column, pa.string()) for column in values]
    empty = pa.scalar(None, pa.string())
    return pa.RecordBatch.from_arrays(
        [pc.if_else(pc.equal(text, ""), empty, text) for text in texts], names=columns
    )
