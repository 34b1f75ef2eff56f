"""Detection of the encoding of a text that is not UTF-8 and has no byte order mark, by the words it gives.

That bytes can be decoded proves little: GB18030 decodes nearly any bytes, and a single-byte code page any at
all. What distinguishes encodings is whether real words come out. Each decoded text is compared with the usual
characters of its writing system. All plausible encodings are returned; only a single one is an answer.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from mmprod.datasets.tables.code_pages import FIT, alphabetic, decoded

_SOME, _MANY = 10, 20  # distinct characters from which on the absence of a kind is significant
_BETWEEN = re.compile(rb"[,;\t\r\n\" ]+")  # none of these bytes is part of a multi-byte character
_PIECES = 100  # with more pieces of text than this, the last, perhaps incomplete one is dropped


class _Writing(NamedTuple):
    """A writing system: `usual` gives the share (0 to 1) of distinct characters that are usual in it; from
    `fit` on the encoding is accepted alone, from `possible` on it can't be excluded."""

    usual: Callable[[set[str]], float]
    fit: float
    possible: float


def likely_encodings(sample: bytes) -> list[str]:
    """The encodings in which `sample` consists of real words; of encodings that give the same text, one.

    One result: the encoding. Several: ambiguous, so the user must declare it. None: an unknown encoding, or
    ASCII only. `sample` must not be UTF-8 (try that first). It consists of complete lines, or is so long that
    an incomplete last line doesn't matter. More distinct words give a better result: pass a small file whole.
    Known are GB18030 (for GBK and GB2312), CP950 (Big5), CP932 (Shift-JIS), EUC-JP, CP949, and the code
    pages of Latin, Cyrillic, Greek, Hebrew, Arabic and Thai that spreadsheets save CSV in.
    """
    pieces = _BETWEEN.split(sample)
    if len(pieces) > _PIECES:
        pieces.pop()  # it may end within a character
    words = b"\n".join(sorted({word for word in pieces if not word.isascii()}))
    if not words:
        return []
    found: dict[str, tuple[str, bool]] = {}  # by text: the encoding, and whether it is accepted alone
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
    """Share of characters in GB2312's first level and of signs in its first rows, without Kana."""
    places = [_place(letter, "gb18030") for letter in letters]
    level_1 = [place for place in places if 0xB0A1 <= place <= 0xD7F9 and place & 0xFF >= 0xA1]
    signs = sum(0xA1A1 <= place <= 0xA3FE for place in places)
    return (len(level_1) + signs) / len(places) if _spread(level_1) else 0.0


def _spread(places: list[int]) -> bool:
    """Whether the characters are spread over a whole first level, which is ordered by pronunciation.

    Hangul occupies the codes where the first levels of GB2312 and JIS begin. Without this check Korean text
    would pass for both.
    """
    return len(places) < _MANY or sum(place >= 0xC9A1 for place in places) >= 0.05 * len(places)


def _traditional(letters: set[str]) -> float:
    return _share(letters, lambda letter: 0xA140 <= _place(letter, "cp950") <= 0xC67E)


def _japanese(letters: set[str]) -> float:
    """Share of characters in the first level of JIS; a text with many characters must also contain Kana.

    Half-width Kana don't count: arbitrary bytes decode to them.
    """

    def usual(letter: str) -> bool:
        place = _place(letter, "cp932")
        return 0x8140 <= place <= 0x8396 or 0x889F <= place <= 0x9872

    share = _share(letters, usual)
    kana = _share(letters, lambda letter: "\u3041" <= letter <= "\u30fe")
    return share if kana >= 0.1 or len(letters) < _MANY or share >= 0.95 else 0.0


def _japanese_euc(letters: set[str]) -> float:
    """As `_japanese`. Without Kana nearly all characters must be usual, since no spreadsheet saves EUC-JP."""
    places = [_place(letter, "euc_jp") for letter in letters]
    kana = any("\u3041" <= letter <= "\u30fe" for letter in letters)
    share = _japanese(letters) if _spread([place for place in places if 0xB0A1 <= place <= 0xFEFE]) else 0.0
    return share if kana or (share >= 0.95 and len(letters) >= _SOME) else 0.0


def _korean(letters: set[str]) -> float:
    """Share of Hangul in KS X 1001; the other nine thousand syllables of CP949 are very rare."""

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
