"""Single-byte code pages: whether the decoded words belong to a language that is written in the code page."""

import re
import sys
import unicodedata
from collections import Counter
from functools import cache

LATIN = {
    "cp1252": (
        *("äöüß", "àâçèéêëîïôœùûü", "áéíñóúü", "àáâãçéêíóôõúü", "àèéìíîòóù", "éèëïöü", "àçèéíïòóúü"),
        *("åäöéü", "åæøéò", "áéíóúýðþæö"),
    ),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ"),
    "cp1254": ("çğı\u0307öşüâîû",),
    "mac_roman": (*("äöüß", "àâçèéêëîïôœùûü", "áéíñóúü", "àáâãçéêíóôõúü", "àèéìíîòóù", "åäöéü", "åæøé"),),
}
"""For each code page, the non-ASCII letters of each of its languages, in lower case."""

_SCRIPTS = {"cp1251": "CYRILLIC", "cp1253": "GREEK", "cp1255": "HEBREW", "cp1256": "ARABIC", "cp874": "THAI"}
_NEVER = re.compile(  # impossible in Polish, Romanian, Hungarian, or Slovak (ŕ and ĺ not between consonants)
    r"ń[aeiouyąęó]|ă[aoeăâ]|ő(?:e[sm]?$)|^[ęńăőűůňŕĺ]|[aeiouyáéíóúýäôŕĺ][ŕĺ]|[ŕĺ](?:[aeiouyáéíóúýäôŕĺ]|$)"
)
_THAI = re.compile("(?:[เ-ไ]?[ก-ฮ][ัิ-ฺ็-๎]*[ะาำๅๆ]?)+")
_MISPLACED = re.compile(
    r"[ךםןףץςةى](?=\w)|σ(?!\w)"
)  # Hebrew, Greek and Arabic word-final letters within a word, and σ at the end of one
_ACCENT = re.compile("[άέήίόύώΐΰΆΈΉΊΌΎΏ]")
_NO_VOWEL = re.compile("[^аеёиоуыэюяіїєαεηιουωάέήίόύώϊϋΐΰ]{2,}")
_WORD = re.compile(r"(?:[^\W\d_]|[\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u0e31-\u0e4e])+")
_BETWEEN = re.compile(  # signs beside words of any language; quotes not inside, some signs not before words
    r"[\u00a0‘’–—•·×÷€©°§±´\u200e\u200f]|(?<![^\W_])[“”„‚«»‹›]|[“”„‚«»‹›®™…](?![^\W_])"
)
_SIGN = re.compile(
    r"(?<=\d)[ªº½¼¾£¥]|(?<![^\W_])[½¼¾]|[£¥](?=\d)|(?<![^\W_])[¿¡](?=[^\W\d_])|(?<=m)[²³](?![^\W_])|№(?=\d)"
)
FIT = 0.9  # share of the words from which a code page is accepted; a few may be of another language
_POSSIBLE = 0.5  # share from which a code page can't be excluded; for scripts with stricter spelling:
_IN_SCRIPT = dict.fromkeys(("cp1253", "cp1255", "cp1256", "cp874"), 0.75)
_MORE, _LONG = 2, 30  # excluded: code pages that need 2 more languages than CP1252 (1 from 30 words on)


def alphabetic(words: bytes) -> list[tuple[str, str, float]]:
    """Plausible code pages of `words`: (code page, text, share of words of a language written in it).

    `words` are distinct, one a line. Latin code pages are excluded if their share is clearly worse than the
    best one's (the margin shrinks with the number of words), or if they need more languages for the words
    than CP1252, by far the most common code page.
    """
    texts = {name: text for name in (*LATIN, *_SCRIPTS) if (text := decoded(words, name))}
    latin = {name: _latin(text, name) for name, text in texts.items() if name in LATIN}
    count = words.count(b"\n") + 1
    margin = max(0.1, 0.5 / count**0.5)
    best = max((share for share, _ in latin.values()), default=0.0)
    possible = {name: found for name, found in latin.items() if found[0] >= max(best - margin, _POSSIBLE)}
    more = 1 if count >= _LONG else _MORE
    most = possible["cp1252"][1] + more if "cp1252" in possible else sys.maxsize
    shares = {name: share for name, (share, languages) in possible.items() if languages < most}
    scripts = {name: _in_script(text, name) for name, text in texts.items() if name in _SCRIPTS}
    shares |= {name: share for name, share in scripts.items() if share >= _IN_SCRIPT.get(name, _POSSIBLE)}
    return [(name, texts[name], share) for name, share in shares.items()]


def decoded(data: bytes, encoding: str) -> str:
    """The decoded text; "" if the bytes are not in this encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _pieces(text: str) -> tuple[list[str], int]:
    """The distinct words with non-ASCII letters, and the number of misplaced non-ASCII signs."""
    rest = _SIGN.sub(" ", _BETWEEN.sub(" ", text))
    words = {word for word in _WORD.findall(rest) if not word.isascii()}
    return sorted(words), sum(letter > "\x7f" for letter in _WORD.sub("", rest))


def _is_cased(word: str) -> bool:
    return word[1:] == word[1:].lower() or word == word.upper()


def _in_script(text: str, name: str) -> float:
    words, odd = _pieces(text)
    fitting = sum(_is_cased(word) and _is_word(word, _SCRIPTS[name]) for word in words)
    return fitting / (len(words) + odd) if words else 0.0


def _is_word(word: str, script: str) -> bool:
    """Whether a word follows the spelling rules of a script."""
    if any(_script(letter) != script for letter in word) or _MISPLACED.search(word):
        return False
    if script == "GREEK" and len(word) > 4 and word != word.upper() and len(_ACCENT.findall(word)) != 1:
        return False
    if script in ("CYRILLIC", "GREEK"):
        return not _NO_VOWEL.fullmatch(word.lower())
    return _THAI.fullmatch(word) is not None if script == "THAI" else unicodedata.category(word[0])[0] == "L"


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0]


def _latin(text: str, name: str) -> tuple[float, int]:
    """The share of words that belong to a language of the code page, and how many languages they need."""
    words, odd = _pieces(text)
    spoken = [found for word in words if (found := _spoken(word, name))]
    share = len(spoken) / (len(words) + odd) if words or odd else 1.0
    count = 0
    while spoken:
        commonest = Counter(language for found in spoken for language in found).most_common(1)[0][0]
        spoken = [found for found in spoken if commonest not in found]
        count += 1
    return share, count


def _spoken(word: str, name: str) -> list[str]:
    """The languages of a code page that a word may belong to, by its non-ASCII letters."""
    lower = word.lower()
    beyond = {letter for letter in lower if letter > "\x7f"}
    if not _is_cased(word) or (len(word) > 1 and len(beyond) == len(set(lower))) or _NEVER.search(lower):
        return []
    return [letters for letters in LATIN[name] if beyond <= set(letters)]
