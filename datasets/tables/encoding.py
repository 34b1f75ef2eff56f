"""Detection of a text file's encoding. Decoding is strict throughout: no byte is ever replaced or dropped."""

import codecs
import logging
from itertools import islice
from pathlib import Path

from mmprod.datasets.tables.likely_encoding import likely_encodings
from mmprod.storage.errors import InputError

log = logging.getLogger(__name__)

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINES = 2_000  # non-ASCII lines used for detection
_SAMPLE = 1 << 18  # bytes
_CHUNK = 1 << 20


def find_encoding(path: Path, declared: str | None = None) -> str:
    """The encoding of `path`: as declared, by byte order mark, UTF-8, or the one that gives real words.

    GBK and GB2312 are reported as GB18030, which contains them. The whole file is decoded as a check.
    Raises: InputError when the declared encoding is unknown or does not fit, and when none or several fit.
    """
    if declared:
        _check_declared(path, declared)
        return declared
    with path.open("rb") as file:
        head = file.read(4)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    encoding = marked or ("utf-8" if _misfit(path, "utf-8") is None else _likeness(path))
    if _misfit(path, encoding) is not None:
        raise InputError(
            f"{path} is no whole {encoding} file: part of it can't be decoded; declare table.encoding in the "
            "configuration"
        )
    if encoding not in ("utf-8", "utf-8-sig"):
        log.info("%s is read as %s", path, encoding)
    return encoding


def _check_declared(path: Path, declared: str) -> None:
    try:
        misfit = _misfit(path, declared)
    except LookupError as error:
        raise InputError(f"{path}: there is no text encoding {declared!r}") from error
    if misfit is not None:
        raise InputError(f"{path} is not {declared}: byte {misfit} can't be decoded")


def _misfit(path: Path, encoding: str) -> int | None:
    """Approximate byte offset of the first byte that can't be decoded; None if all can."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    at = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                return at + getattr(error, "start", 0)
            if not chunk:
                return None
            at += len(chunk)


def _likeness(path: Path) -> str:
    """The encoding that gives real words, detected from the file's non-ASCII lines.

    Raises: InputError when none does, or several do.
    """
    with path.open("rb") as file:
        sample = b"".join(islice((line for line in file if not line.isascii()), _LINES))[:_SAMPLE]
    likely = [name for name in likely_encodings(sample) if _misfit(path, name) is None]
    if len(likely) == 1:
        return likely[0]
    doubt = f"may be {' or '.join(likely)}" if likely else "is in no encoding known here"
    raise InputError(
        f"{path} is not UTF-8 and {doubt}: save it as UTF-8, or declare table.encoding (such as "
        f'"{likely[0] if likely else "gb18030"}") in the configuration'
    )
