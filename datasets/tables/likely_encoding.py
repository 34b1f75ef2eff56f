"""Which encodings a text that is neither marked nor UTF-8 may be in, told by the words it then holds.

That bytes decode says little: GB18030 makes characters of nearly any bytes, and a code page of one byte a
letter of any at all. What tells them apart is whether real words come out. Each reading is held against
the writing it stands for; those that may be right stand side by side, and only a lone one is an answer.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from mmprod.datasets.tables.code_pages import FIT, alphabetic, decoded

_SOME, _MANY = 10, 20  # different characters, from which on what is not among them says something
_BETWEEN = re.compile(rb"[,;\t\r\n\" ]+")  # none of these is part of a longer character
_PIECES = 100  # of text, from which on the last one may be done without


class _Writing(NamedTuple):
    """How much of different characters is usual in it (0 to 1); from where on that will do, and may do."""

    usual: Callable[[set[str]], float]
    fit: float
    possible: float


def likely_encodings(sample: bytes) -> list[str]:
    """The encodings that may make real words of `sample`; of those that read it alike, one.

    Exactly one: that is it. Several: it can't be told which, so that it has to be declared. None: an
    encoding not known here, or nothing but ASCII. `sample` is not UTF-8, which is to be tried before, and
    whole lines, or so many that a last one cut off doesn't matter. The more different words it holds, the
    more it tells: give the whole of a small file.
    Known are GB18030 (for GBK and GB2312), CP950 (Big5), CP932 (Shift-JIS), EUC-JP, CP949, and the code
    pages of Latin, Cyrillic, Greek, Hebrew, Arabic and Thai that spreadsheets save CSV in.
    """
    pieces = _BETWEEN.split(sample)
    if len(pieces) > _PIECES:
        pieces.pop()  # it may be cut off within a character
    words = b"\n".join(sorted({word for word in pieces if not word.isascii()}))
    if not words:
        return []
    found: dict[str, tuple[str, bool]] = {}  # by the text: the encoding, and whether it will do on its own
    for name, writing in _EAST_ASIAN.items():
        text = decoded(words, name)
        letters = {letter for letter in text if letter > "\x7f"}
        share = writing.usual(letters) if text else 0.0
        if share >= writing.possible:
            found.setdefault(text, (name, share >= writing.fit and len(letters) > 1))
    for name, text, share in alphabetic(words):
        found.setdefault(text, (name, share >= FIT))
    if len(found) == 1 and not all(will_do for _, will_do in found.values()):
        return []
    return [name for name, _ in found.values()]


def _share(letters: set[str], usual: Callable[[str], bool]) -> float:
    return sum(map(usual, letters)) / len(letters)


def _place(letter: str, encoding: str) -> int:
    return int.from_bytes(letter.encode(encoding, errors="ignore"))


def _simplified(letters: set[str]) -> float:
    """Characters of GB2312's first level and signs of its first rows, Kana not among them."""
    places = [_place(letter, "gb18030") for letter in letters]
    level_1 = [place for place in places if 0xB0A1 <= place <= 0xD7F9 and place & 0xFF >= 0xA1]
    signs = sum(0xA1A1 <= place <= 0xA3FE for place in places)
    return (len(level_1) + signs) / len(places) if _spread(level_1) else 0.0


def _spread(places: list[int]) -> bool:
    """Whether characters lie all over a first level, which stands in the order of its sounds.

    Hangul lies where those of GB2312 and JIS begin, so that Korean passes for both unless this is asked.
    """
    return len(places) < _MANY or sum(place >= 0xC9A1 for place in places) >= 0.05 * len(places)


def _traditional(letters: set[str]) -> float:
    return _share(letters, lambda letter: 0xA140 <= _place(letter, "cp950") <= 0xC67E)


def _japanese(letters: set[str]) -> float:
    """Characters of the first level of JIS, with Kana among them where there are many.

    Half-width Kana is what bytes of anything become.
    """

    def usual(letter: str) -> bool:
        place = _place(letter, "cp932")
        return 0x8140 <= place <= 0x8396 or 0x889F <= place <= 0x9872

    share = _share(letters, usual)
    kana = _share(letters, lambda letter: "\u3041" <= letter <= "\u30fe")
    return share if kana >= 0.1 or len(letters) < _MANY or share >= 0.95 else 0.0


def _japanese_euc(letters: set[str]) -> float:
    """As `_japanese`; without Kana only where nearly all is usual, as no spreadsheet saves EUC-JP."""
    places = [_place(letter, "euc_jp") for letter in letters]
    kana = any("\u3041" <= letter <= "\u30fe" for letter in letters)
    share = _japanese(letters) if _spread([place for place in places if 0xB0A1 <= place <= 0xFEFE]) else 0.0
    return share if kana or (share >= 0.95 and len(letters) >= _SOME) else 0.0


def _korean(letters: set[str]) -> float:
    """Hangul of KS X 1001; the other nine thousand that CP949 has are hardly ever written."""

    def usual(letter: str) -> bool:
        place = _place(letter, "euc_kr")
        return 0xA1A1 <= place <= 0xA3FE or 0xB0A1 <= place <= 0xC8FE

    return _share(letters, usual)


_EAST_ASIAN = {
    "gb18030": _Writing(_simplified, 0.6, 0.4),
    "cp950": _Writing(_traditional, 0.8, 0.7),
    "cp932": _Writing(_japanese, 0.8, 0.7),
    "euc_jp": _Writing(_japanese_euc, 0.8, 0.75),
    "cp949": _Writing(_korean, 0.95, 0.85),
}
