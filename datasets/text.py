"""The normal form of product titles: titles are hashed, embedded and searched by keyword in this form."""

import html
import re
import unicodedata
from functools import cache

FORM = "nfkc-1"
"""Version of the rules below. It is part of the encoder fingerprint: change it when they change."""

MAX_CHARS = 2000
MAX_MARKS = 4
_MAX_INPUT = 8 * MAX_CHARS  # characters kept of a title once markup and extra white space are removed
_MAX_PASSES = 8

# No rule below changes these characters, so a title of these and single spaces is in normal form already.
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
# Controls, soft hyphen, zero width, bidi, fillers, tags, non-characters, variation selectors outside emoji.
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

    Surrogates are joined or become U+FFFD. HTML entities are decoded. HTML tags and scripts, ANSI escapes,
    control, zero-width and direction characters are removed (joiners and variation selectors stay inside
    emoji). Unicode NFKC is applied, at most MAX_MARKS combining marks in a row are kept, and white space
    collapses to single spaces. The function is idempotent; its time is linear in the input's length.
    """
    if not text:
        return ""
    if len(text) <= MAX_CHARS and _NORMAL.fullmatch(text):
        return text
    done = _settle(text)
    if done is None:  # entities nested too deep for a real title: remove what could still be decoded
        done = _settle(re.sub("[<&＜＆﹤﹠]", "", _once(text)))
    return done or ""


def decode_entities(text: str) -> str:
    """Replace HTML entities such as ``&gt;`` or ``&#62;`` by their characters."""
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def _settle(text: str) -> str | None:
    """Apply the rules until nothing changes, since one may produce input for another; None if too deep."""
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
    # Before NFKC too: it sorts a run of marks in quadratic time and can expand one character to eighteen.
    text = unicodedata.normalize("NFKC", _few_marks(text)[:_MAX_INPUT])
    text = _LOOSE_JOINER.sub("", _LOOSE_SELECTOR.sub("", _few_marks(text)))
    return " ".join(text.split())[:MAX_CHARS].rstrip()


def _without_blocks(text: str) -> str:
    """Remove scripts, styles and comments with their content; of an unclosed one only the tag is removed."""
    kept, at = [], 0
    unclosed: set[str] = set()
    for opening in _BLOCK.finditer(text):
        kind = (opening[1] or opening[2]).lower()
        if opening.start() < at or kind in unclosed:
            continue
        closing = _BLOCK_END[kind].search(text, opening.end())
        if closing is None:
            unclosed.add(kind)  # nor is there one further on: searching again would be quadratic
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
    """Pattern for more than MAX_MARKS combining marks below code point `end`: `re` has no Unicode categories.

    A character class beyond U+FFFF is matched a hundred times slower, so it is used only where needed.
    """
    marks = "".join(chr(c) for c in range(0x300, end) if unicodedata.category(chr(c))[0] == "M")
    return re.compile(f"([{marks}]{{{MAX_MARKS}}})[{marks}]+")
