"""Code pages of one byte a letter: whether the words that come out are of a language written in them."""

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
"""The letters beyond ASCII of each language written in a code page, in lower case."""

_SCRIPTS = {"cp1251": "CYRILLIC", "cp1253": "GREEK", "cp1255": "HEBREW", "cp1256": "ARABIC", "cp874": "THAI"}
_NEVER = re.compile(  # stands in Polish, Romanian, Hungarian, or for Slovak ŕ and ĺ but between consonants
    r"ń[aeiouyąęó]|ă[aoeăâ]|ő(?:e[sm]?$)|^[ęńăőűůňŕĺ]|[aeiouyáéíóúýäôŕĺ][ŕĺ]|[ŕĺ](?:[aeiouyáéíóúýäôŕĺ]|$)"
)
_THAI = re.compile("(?:[เ-ไ]?[ก-ฮ][ัิ-ฺ็-๎]*[ะาำๅๆ]?)+")
_MISPLACED = re.compile(
    r"[ךםןףץςةى](?=\w)|σ(?!\w)"
)  # letters that stand at the end of words alone, and not there
_ACCENT = re.compile("[άέήίόύώΐΰΆΈΉΊΌΎΏ]")
_NO_VOWEL = re.compile("[^аеёиоуыэюяіїєαεηιουωάέήίόύώϊϋΐΰ]{2,}")
_WORD = re.compile(r"(?:[^\W\d_]|[\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u0e31-\u0e4e])+")
_BETWEEN = re.compile(  # beside words of any language; quotes not within them, some signs not before them
    r"[\u00a0‘’–—•·×÷€©°§±´\u200e\u200f]|(?<![^\W_])[“”„‚«»‹›]|[“”„‚«»‹›®™…](?![^\W_])"
)
_SIGN = re.compile(
    r"(?<=\d)[ªº½¼¾£¥]|(?<![^\W_])[½¼¾]|[£¥](?=\d)|(?<![^\W_])[¿¡](?=[^\W\d_])|(?<=m)[²³](?![^\W_])|№(?=\d)"
)
FIT = 0.9  # of the words, from where on a reading will do; a few may be of some other language
_POSSIBLE = 0.5  # from where on another reading can't be left out; of scripts with stricter spelling:
_IN_SCRIPT = dict.fromkeys(("cp1253", "cp1255", "cp1256", "cp874"), 0.75)
_MORE, _LONG = 2, 30  # languages more than CP1252 needs, to be left out; among so many words one is enough


def alphabetic(words: bytes) -> list[tuple[str, str, float]]:
    """(code page, text, share of the words that are of a language written in it) of readings of `words`.

    The words are different ones and stand one a line. Of Latin readings those are left out that fit clearly
    worse than the best, the more clearly the more words there are; and those that need languages by the
    handful where CP1252, by far the commonest, needs few.
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
    """The text, "" where the bytes are not of this encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _pieces(text: str) -> tuple[list[str], int]:
    """The different words with letters beyond ASCII, and how many signs stand where none belongs."""
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
    """Whether a word is written in a script as its languages write it."""
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
    """The share of words that are of one of a code page's languages, and how many languages they take."""
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
    """The languages of a code page that a word may be of; its letters beyond ASCII tell."""
    lower = word.lower()
    beyond = {letter for letter in lower if letter > "\x7f"}
    if not _is_cased(word) or (len(word) > 1 and len(beyond) == len(set(lower))) or _NEVER.search(lower):
        return []
    return [letters for letters in LATIN[name] if beyond <= set(letters)]
