"""The one normal form of a product title: what is hashed, embedded and searched by keyword."""

import html
import re
import unicodedata
from functools import cache

FORM = "nfkc-1"
"""Version of the rules below. It travels in the encoder fingerprint: change it when they change."""

MAX_CHARS = 2000
MAX_MARKS = 4
_MAX_INPUT = 8 * MAX_CHARS  # what is left of a title once markup and white space are gone
_MAX_PASSES = 8

# Characters that every rule below leaves alone, so a title of these and single spaces is normal as it is.
_PLAIN = r"!-%'-;=-~À-ÖØ-öø-ÿЀ-џ。、《-】ぁ-ゖァ-ヺー一-鿿가-힣"
_NORMAL = re.compile(f"[{_PLAIN}]+(?: [{_PLAIN}]+)*")

_SURROGATE = re.compile("[\ud800-\udfff]")
_ANSI = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)")
_BLOCK = re.compile(r"<(?:(script|style)\b[^<>]*>|(!--))", re.IGNORECASE)
_BLOCK_END = {
    "script": re.compile(r"</script\s*>", re.IGNORECASE),
    "style": re.compile(r"</style\s*>", re.IGNORECASE),
    "!--": re.compile("-->"),
}
_TAG = re.compile(r"<[/!?]?[A-Za-z][^<>]*>")
# Only with its semicolon: html.unescape alone would turn "Rock&notes" into "Rock¬es".
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Controls, soft hyphen, zero width, bidi, fillers, tags, non-characters, selectors that are not of emoji.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e0fff]"
)
_EMOJI = "\u203c\u2049\u2190-\u21ff\u231a-\u23ff\u25aa-\u27bf\u2934\u2935\u2b00-\u2bff\U0001f000-\U0001faff"
_LOOSE_SELECTOR = re.compile(f"(?<![{_EMOJI}])(?!(?<=[0-9#*])\ufe0f\u20e3)[\ufe0e\ufe0f]")
_LOOSE_JOINER = re.compile(f"(?<![{_EMOJI}\ufe0f])\u200d|\u200d(?![{_EMOJI}])")


def normalise_title(text: str | None) -> str:
    """The normal form of a title, at most MAX_CHARS characters, `''` for none. Case is kept.

    Surrogates are joined or become U+FFFD; HTML tags, scripts and entities, ANSI escapes, control, zero-width
    and direction characters go (joiners and variation selectors stay inside emoji); Unicode NFKC; at most
    MAX_MARKS combining marks in a row; white space collapses to single spaces. Applying it twice changes
    nothing more. Time is linear in the input's length.
    """
    if not text:
        return ""
    if len(text) <= MAX_CHARS and _NORMAL.fullmatch(text):
        return text
    done = _settle(text)
    if done is None:  # entities nested deeper than any honest title: what could still unfold goes
        done = _settle(re.sub("[<&＜＆﹤﹠]", "", _once(text)))
    return done or ""


def decode_entities(text: str) -> str:
    """The text with HTML's entities, ``&gt;`` or ``&#62;``, as the characters they stand for."""
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def _settle(text: str) -> str | None:
    """Repeat the rules until they change nothing, since one may uncover work for another."""
    for _ in range(_MAX_PASSES):
        before, text = text, _once(text)
        if text == before or _NORMAL.fullmatch(text):
            return text
    return None


def _once(text: str) -> str:
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = _ANSI.sub("", text)
    if "<" in text:
        text = _TAG.sub(" ", _without_blocks(text))
    if "&" in text:
        text = decode_entities(text)
    text = _INVISIBLE.sub("", " ".join(text.split()))
    # Before NFKC too, where sorting a long run of marks is quadratic and one character can become eighteen.
    text = unicodedata.normalize("NFKC", _few_marks(text)[:_MAX_INPUT])
    text = _LOOSE_JOINER.sub("", _LOOSE_SELECTOR.sub("", _few_marks(text)))
    return " ".join(text.split())[:MAX_CHARS].rstrip()


def _without_blocks(text: str) -> str:
    """Drop scripts, styles and comments with what they hold; one that is never closed loses its tag only."""
    kept, at = [], 0
    unclosed: set[str] = set()
    for opening in _BLOCK.finditer(text):
        kind = (opening[1] or opening[2]).lower()
        if opening.start() < at or kind in unclosed:
            continue
        closing = _BLOCK_END[kind].search(text, opening.end())
        if closing is None:
            unclosed.add(kind)  # none further on either: looking again would make this quadratic
            continue
        kept += [text[at : opening.start()], " "]
        at = closing.end()
    return "".join([*kept, text[at:]])


def _few_marks(text: str) -> str:
    if text.isascii():
        return text
    return _mark_run(0x20000 if max(text) > "\uffff" else 0x10000).sub(r"\1", text)


@cache
def _mark_run(end: int) -> re.Pattern[str]:
    """MAX_MARKS combining marks below code point `end`, then more of them: `re` knows no Unicode categories.

    A class that reaches beyond U+FFFF is searched a hundred times slower, so it is kept for where it matters.
    """
    marks = "".join(chr(c) for c in range(0x300, end) if unicodedata.category(chr(c))[0] == "M")
    return re.compile(f"([{marks}]{{{MAX_MARKS}}})[{marks}]+")
