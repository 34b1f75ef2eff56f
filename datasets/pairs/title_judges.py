"""Quality measures of a title in normal form: each returns one number. Bounds are applied in `quality`."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
_LETTERS = re.compile("[^-'’]+")
_CHINESE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_LONGEST = 6  # most characters of a category name that is searched in text without spaces


def letters(title: str) -> float:
    """Number of letters, without digits; a Chinese, Japanese or Korean character counts twice."""
    return float(sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in title if c.isalpha()))


def word_count(title: str) -> float:
    """Number of words; a run of text without spaces counts as one."""
    return float(len(_WORD.findall(title)))


def repeated_share(title: str) -> float:
    """Share of the words that are repeats: 1 - distinct words / words."""
    words = _WORD.findall(title.casefold())
    return 1 - len(set(words)) / len(words) if words else 0.0


def foreign_categories(title: str, category: str, names: frozenset[str]) -> float:
    """Number of `names` (see `category_names`) in the title that are not in its own category's path."""
    return float(len(_named(title, names) - _named(category, names)))


def category_names(categories: Iterable[str]) -> frozenset[str]:
    """The nouns for the products of the narrowest categories: "Men > Casual Shoes" gives "shoe".

    This is the last word of the last level in the singular, or the whole name if written without spaces.
    """
    leaves = {path.split(" > ")[-1] for path in categories}
    words = [_WORD.findall(leaf.casefold()) for leaf in leaves]
    return frozenset(_singular(found[-1]) for found in words if found)


def _named(text: str, names: frozenset[str]) -> frozenset[str]:
    words = {_singular(word) for word in _WORD.findall(text.casefold())}
    runs = _CHINESE.findall(text)
    return names & (words | {part for run in runs for part in _parts(run)})


def _parts(run: str) -> Iterator[str]:
    for start in range(len(run)):
        yield from (run[start : start + length] for length in range(1, _LONGEST + 1))


def _singular(word: str) -> str:
    """A rough English singular; gives the same for "t-shirts" and "Tshirt"."""
    plain = "".join(_LETTERS.findall(word.removesuffix("'s").removesuffix("’s")))
    if re.search("(?:ss|x|z|ch|sh)es$", plain):
        return plain[:-2]
    return plain[:-1] if plain.endswith("s") and not plain.endswith("ss") else plain
