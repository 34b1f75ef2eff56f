"""Label files in CSV: with comma, semicolon or tab, in any encoding that `textfile` knows."""

import csv
import re
from collections.abc import Iterator
from itertools import islice

from mmprod.datasets.tables.private_copy import PrivateCopy
from mmprod.datasets.tables.textfile import Record, delimiter_of, records
from mmprod.eval.labels.source import ABOVE, Source, check_title, is_header
from mmprod.storage.errors import InputError

_SEP = re.compile(r'"?sep=([,;\t])"?[,;\t]*\s*', re.IGNORECASE)  # a line that tells Excel the delimiter


def open_csv(file: PrivateCopy, encoding: str) -> Source:
    """Open a CSV file, whose text is known to be in `encoding`; it is read line by line.

    The header is the first of the ABOVE first lines that has a sheet's columns, else the first line; above it
    there may be a title, and a line `sep=;` with the delimiter. A record gets an error if a quoted cell of
    several lines contains as many delimiters as a whole row: then a quote is missing, and the cell has
    swallowed rows that must not be lost.
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
    """The number of lines above the header, and the delimiter."""
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
