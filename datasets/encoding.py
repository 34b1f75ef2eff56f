"""Which encoding a text file is in. Decoding is strict throughout: no byte is ever replaced or dropped."""

import codecs
import logging
from itertools import islice
from pathlib import Path

from charset_normalizer import from_bytes

from mmprod.datasets.errors import InputError

log = logging.getLogger(__name__)

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LIKELY = ["gb18030", "big5", "shift_jis", "cp949", "euc_jp", "cp1252", "cp1251"]
_FEW = 64  # bytes beyond ASCII: with fewer, statistics name any East Asian encoding
_SAMPLE = 65536
_CHUNK = 1 << 20


def find_encoding(path: Path, declared: str | None = None) -> str:
    """The encoding that decodes all of `path`: the declared one, or by byte order mark, UTF-8, likeness.

    GB18030 stands for GBK and GB2312, which it contains.
    Raises: InputError where the declared encoding is unknown or doesn't fit, and where none is found.
    """
    if declared:
        _check_declared(path, declared)
        return declared
    with path.open("rb") as file:
        head = file.read(4)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    encoding = marked or ("utf-8" if _misfit(path, "utf-8") is None else _likeness(path))
    if encoding is None or _misfit(path, encoding) is not None:
        raise InputError(f"{path}: its text encoding can't be told; set `encoding` in the table's config")
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
    """About where (a byte offset) the file can't be decoded; None where it can."""
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


def _likeness(path: Path) -> str | None:
    with path.open("rb") as file:
        sample = b"".join(islice((line for line in file if not line.isascii()), 500))[:_SAMPLE]
    beyond = sum(byte > 127 for byte in sample)
    if beyond < _FEW and _misfit(path, "gb18030") is None:
        return "gb18030"
    best = from_bytes(sample, cp_isolation=_LIKELY).best()
    return best.encoding if best else None
