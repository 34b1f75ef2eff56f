"""Label files in CSV: comma, semicolon or tab, in any encoding that `textfile` knows."""

import csv
import re
from collections.abc import Iterator
from itertools import islice

from mmprod.datasets.tables.private_copy import PrivateCopy
from mmprod.datasets.tables.textfile import Record, delimiter_of, records
from mmprod.eval.labels.source import ABOVE, Source, check_title, is_header
from mmprod.storage.errors import InputError

_SEP = re.compile(r'"?sep=([,;\t])"?[,;\t]*\s*', re.IGNORECASE)  # how Excel is told the delimiter


def open_csv(file: PrivateCopy, encoding: str) -> Source:
    """A CSV file whose bytes have been found to be text in `encoding`; it is read a line at a time.

    The header is the first of its ABOVE first lines that has a sheet's columns, else the first line: a
    title may stand above it, and a line `sep=;`, which tells the delimiter. A record is in error where a
    quoted cell holds as many delimiters as a whole row does, over several lines: a quote is missing
    somewhere, and the rows it swallowed are not to be lost in a title.
    Raises: InputError, here or while reading, for a header without delimiter and a quote never closed.
    """
    with file.path.open(encoding=encoding, newline="") as lines:
        above, delimiter = _header(list(islice(lines, ABOVE)), file)

    def rows() -> Iterator[Record]:
        with file.path.open(encoding=encoding, newline="") as lines:
            for _ in range(above):
                next(lines)
            for row in records(lines, delimiter, file):
                yield row._replace(line=row.line + above)

    header = next(rows()).cells

    def read() -> Iterator[Record]:
        after_header = rows()
        next(after_header)
        for row in after_header:
            yield row if row.error else _checked(row, delimiter, len(header))

    return Source(header, encoding, read)


def _header(lines: list[str], file: PrivateCopy) -> tuple[int, str]:
    """How many lines stand above the header, and the delimiter."""
    told = _SEP.fullmatch(lines[0])
    for above, line in enumerate(lines):
        try:
            delimiter = told[1] if told else delimiter_of(line, file)
            found = is_header(next(csv.reader([line], delimiter=delimiter), []))
        except (InputError, csv.Error):  # a title
            continue
        if found:
            for number, title in enumerate(lines[bool(told) : above], 1 + bool(told)):
                check_title(title.split(delimiter), number, file)
            return above, delimiter
    above = 1 if told and len(lines) > 1 else 0
    return above, told[1] if told else delimiter_of(lines[0], file)


def _checked(row: Record, delimiter: str, width: int) -> Record:
    text = "".join(row.cells)
    if text.count(delimiter) < width - 1 or not ("\n" in text or "\r" in text):
        return row
    for cell in row.cells:
        if cell.count(delimiter) >= width - 1 and len(lines := cell.splitlines()) > 1:
            return row._replace(error=f"a quote runs over {len(lines)} lines: is one missing?")
    return row
