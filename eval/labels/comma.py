"""Label files in CSV: comma, semicolon or tab, in any encoding that `textfile` knows."""

from collections.abc import Iterator
from pathlib import Path

from mmprod.datasets.textfile import Record, delimiter_of, records
from mmprod.eval.labels.source import Source


def open_csv(path: Path, encoding: str) -> Source:
    """A CSV file whose bytes have been found to be text in `encoding`; it is read a line at a time.

    A record is in error where a quoted cell holds as many delimiters as a whole row does, over several
    lines: a quote is missing somewhere, and the rows it swallowed are not to be lost in a title.
    Raises: InputError, here or while reading, for a first line without delimiter and a quote never closed.
    """
    with path.open(encoding=encoding, newline="") as lines:
        delimiter = delimiter_of(lines.readline(), path)

    def rows() -> Iterator[Record]:
        with path.open(encoding=encoding, newline="") as lines:
            yield from records(lines, delimiter, path)

    header = next(rows()).cells

    def read() -> Iterator[Record]:
        after_header = rows()
        next(after_header)
        for row in after_header:
            yield row if row.error else _checked(row, delimiter, len(header))

    return Source(header, encoding, read)


def _checked(row: Record, delimiter: str, width: int) -> Record:
    text = "".join(row.cells)
    if text.count(delimiter) < width - 1 or not ("\n" in text or "\r" in text):
        return row
    for cell in row.cells:
        if cell.count(delimiter) >= width - 1 and len(lines := cell.splitlines()) > 1:
            return row._replace(error=f"a quote runs over {len(lines)} lines: is one missing?")
    return row
