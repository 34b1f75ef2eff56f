"""Label files as people hand them in: which encoding, which delimiter, and their records with their lines.

Stricter than `encoding` and `csv_table`: an encoding is never guessed from likeness, and a bad record keeps
its text, so that it can be given back to whoever wrote it.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmprod.datasets.errors import InputError

DELIMITERS = (",", ";", "\t")

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NOT_TEXT = ((b"PK\x03\x04", "an .xlsx workbook or a zip file"), (b"\xd0\xcf\x11\xe0", "an .xls workbook"))


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its first line (from 1), its cells, and what is wrong with it ("" when nothing is).

    A record with an error has the text as it stood as its only cell.
    """

    line: int
    cells: tuple[str, ...]
    error: str


def read_text(path: Path, max_bytes: int) -> tuple[str, str]:
    """The text of a file and the name of its encoding.

    UTF-8, UTF-8 or UTF-16 with a byte order mark, UTF-16 without one, else GB18030 (which contains GBK);
    decoding is strict: no byte is replaced or dropped.
    Raises: InputError for an empty file, one over `max_bytes`, a workbook, and bytes of no such encoding.
    """
    size = path.stat().st_size if path.is_file() else 0
    if not size:
        raise InputError(f"{path}: {'the file is empty' if path.is_file() else 'no such file'}")
    if size > max_bytes:
        raise InputError(f"{path} has {size} bytes, the limit is {max_bytes}: split it")
    data = path.read_bytes()
    for mark, name in _NOT_TEXT:
        if data.startswith(mark):
            raise InputError(f"{path} is {name}, not text: save it as CSV UTF-8")
    for encoding in _candidates(data):
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise InputError(f"{path} is neither UTF-8, UTF-16 nor GBK: save it as CSV UTF-8")


def delimiter_of(text: str, path: Path) -> str:
    """Comma, semicolon or tab: the one most often found outside quotes in the first line of `text`.

    Raises: InputError, naming `path`, where the first line has none of them.
    """
    first = text.split("\n", 1)[0].split("\r", 1)[0]
    bare = "".join(first.split('"')[::2])
    found = max(DELIMITERS, key=bare.count)
    if found not in bare:
        raise InputError(f"{path}: no comma, semicolon or tab in the first line {first[:80]!r}")
    return found


def records(text: str, delimiter: str, path: Path) -> Iterator[Record]:
    r"""The records of `text`, the header among them; lines end in \n, \r\n or \r.

    Text after a closing quote and a field beyond `csv.field_size_limit()` are errors of that record; the
    next one begins on the next line.
    Raises: InputError, naming `path` and the line, for a quote that is never closed.
    """
    taken: list[str] = []  # physical lines of the record being read
    reader = csv.reader(_noting(io.StringIO(text, newline=""), taken), delimiter=delimiter, strict=True)
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


def _noting(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _candidates(data: bytes) -> list[str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return [encoding]
    if b"\0" in data[:4]:  # a header in ASCII: UTF-16 has a zero byte beside each letter
        return ["utf-16-le" if data[1:2] == b"\0" else "utf-16-be"]
    return ["utf-8", "gb18030"]
