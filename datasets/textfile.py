"""Label files as people hand them in: which encoding, which delimiter, and their records with their lines.

Stricter than `encoding` and `csv_table`: an encoding is never guessed from likeness, and a bad record keeps
its text, so that it can be given back to whoever wrote it.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mmprod.datasets.errors import InputError

DELIMITERS = (",", ";", "\t")

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NOT_TEXT = (
    (b"PK\x03\x04", "an .xlsx workbook or a zip file"),
    (b"\xd0\xcf\x11\xe0", "an .xls workbook or one with a password"),
)
_PIECE = 1 << 20


class Record(NamedTuple):
    """One record: its first line (from 1), its cells, and what is wrong with it ("" when nothing is).

    A record with an error has the text as it stood as its only cell.
    """

    line: int
    cells: tuple[str, ...]
    error: str


def encoding_of(path: Path, max_bytes: int) -> str:
    """The name of a file's encoding; every byte has been decoded by it, a piece at a time.

    UTF-8, UTF-8 or UTF-16 with a byte order mark, UTF-16 without one, else GB18030 (which contains GBK);
    decoding is strict: no byte is replaced or dropped.
    Raises: InputError for an empty file, one over `max_bytes`, a workbook, and bytes of no such encoding.
    """
    check_size(path, max_bytes)
    with path.open("rb") as file:
        start = file.read(4)
    for mark, name in _NOT_TEXT:
        if start.startswith(mark):
            raise InputError(f"{path} is {name}, not text: save it as CSV UTF-8")
    for encoding in _candidates(start):
        if _decodes(path, encoding):
            return encoding
    raise InputError(f"{path} is neither UTF-8, UTF-16 nor GBK: save it as CSV UTF-8")


def check_size(path: Path, max_bytes: int) -> None:
    """Raise InputError unless `path` is a file of 1 to `max_bytes` bytes."""
    size = path.stat().st_size if path.is_file() else 0
    if not size:
        raise InputError(f"{path}: {'the file is empty' if path.is_file() else 'no such file'}")
    if size > max_bytes:
        raise InputError(f"{path} has {size} bytes, the limit is {max_bytes}: split it")


def delimiter_of(first: str, path: Path) -> str:
    """Comma, semicolon or tab: the one most often found outside quotes in the first line, `first`.

    Raises: InputError, naming `path`, where it has none of them.
    """
    bare = "".join(first.split('"')[::2])
    found = max(DELIMITERS, key=bare.count)
    if found not in bare:
        raise InputError(f"{path}: no comma, semicolon or tab in the first line {first[:80]!r}")
    return found


def records(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[Record]:
    r"""The records of `lines`, the header among them; each line ends in \n, \r\n or \r, as it stands.

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


def _candidates(start: bytes) -> list[str]:
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return [encoding]
    if b"\0" in start:  # a header in ASCII: UTF-16 has a zero byte beside each letter
        return ["utf-16-le" if start[1:2] == b"\0" else "utf-16-be"]
    return ["utf-8", "gb18030"]


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
