"""Reading text label files: their encoding, their delimiter, and their records with line numbers.

Unlike in `csv_table`, a bad record keeps its text, so that it can be returned to its author.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mmprod.datasets.tables.likely_encoding import likely_encodings
from mmprod.datasets.tables.private_copy import PrivateCopy
from mmprod.storage.errors import InputError

DELIMITERS = (",", ";", "\t")

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NOT_TEXT = (
    (b"PK\x03\x04", "an .xlsx workbook or a zip file"),
    (b"\xd0\xcf\x11\xe0", "an .xls workbook or one with a password"),
)
_PIECE = 1 << 20
_SAMPLE = 1 << 18  # bytes of non-ASCII lines from which the encoding is detected
_WAY_OUT = "save it as CSV UTF-8, or declare its encoding: `review.encoding`"


class Record(NamedTuple):
    """One record: its first line (from 1), its cells, and its error ("" if none).

    A record with an error has its original text as its only cell.
    """

    line: int
    cells: tuple[str, ...]
    error: str


def encoding_of(file: PrivateCopy, declared: str | None = None) -> str:
    """The name of a file's encoding; the whole file has been decoded with it as a check.

    Tried in this order: a byte order mark; UTF-16 if there are zero bytes; UTF-8; `declared`; the only
    encoding that gives real words (`likely_encodings`). Decoding is strict: no byte is replaced or dropped.
    Raises: InputError, with the cure, for a workbook, for bytes that are not in the encoding, and when no
    encoding or several may be right.
    """
    with file.path.open("rb") as data:
        start = data.read(4)
    for mark, name in _NOT_TEXT:
        if start.startswith(mark):
            raise InputError(f"{file} is {name}, not text: save it as CSV UTF-8")
    encoding = _marked(start)
    if encoding is None and _decodes(file.path, "utf-8"):
        return "utf-8"
    encoding = encoding or declared or _likely(file)
    if not _decodes(file.path, encoding):
        raise InputError(f"{file} is not UTF-8, and not {encoding} as a whole: {_WAY_OUT}")
    return encoding


def _marked(start: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    if b"\0" in start:  # in an ASCII header UTF-16 has a zero byte beside each letter
        return "utf-16-le" if start[1:2] == b"\0" else "utf-16-be"
    return None


def _likely(file: PrivateCopy) -> str:
    sample, size = [], 0
    with file.path.open("rb") as lines:
        for line in lines:
            if not line.isascii() and size < _SAMPLE:
                sample.append(line)
                size += len(line)
    found = likely_encodings(b"".join(sample))
    if len(found) != 1:
        several = f"may be {' or '.join(found)}: it can't be told which"
        raise InputError(
            f"{file} is not UTF-8 and {several if found else 'in no encoding known here'}; {_WAY_OUT}"
        )
    return found[0]


def delimiter_of(first: str, path: object) -> str:
    """Comma, semicolon or tab: the most frequent one outside quotes in the first line, `first`.

    Raises: InputError, naming `path`, if it has none of them.
    """
    bare = "".join(first.split('"')[::2])
    found = max(DELIMITERS, key=bare.count)
    if found not in bare:
        raise InputError(f"{path}: no comma, semicolon or tab in the first line {first[:80]!r}")
    return found


def records(lines: Iterable[str], delimiter: str, path: object) -> Iterator[Record]:
    r"""The records of `lines`, including the header; lines keep their ends (\n, \r\n or \r).

    Text after a closing quote and a field beyond `csv.field_size_limit()` are errors of that record; the
    next one begins on the next line.
    Raises: InputError, naming `path` and the line, for a quote that is never closed.
    """
    taken: list[str] = []  # physical lines of the record being read
    reader = csv.reader(_noting(lines, taken), delimiter=delimiter, strict=True)
    line = 1
    while True:
        taken.clear()
        try:
            yield Record(line, tuple(next(reader)), "")
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise InputError(f"{path}, line {line}: a quote is opened and never closed") from error
            yield Record(line, ("".join(taken).rstrip("\r\n"),), str(error))
        line += len(taken)


def _noting(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            for piece in iter(partial(file.read, _PIECE), b""):
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
