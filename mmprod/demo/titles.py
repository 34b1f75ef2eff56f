"""Titles as sellers write them: reworded, cut, in English or Chinese, honest or stuffed with wrong words."""

import numpy as np

from mmprod.demo.items import Item
from mmprod.demo.vocabulary import BRANDS, CHINESE, COLOURS, KINDS, PATTERNS

STUFFED = 0.3  # share of sellers' titles with wrong words
AS_SOLD = 0.5  # share of training titles that are as sellers write them

_BOAST = (
    "hot sale",
    "free shipping",
    "new arrival",
    "best gift",
    "2025",
    "high quality",
    "in stock",
    "premium",
)
_BOAST_CHINESE = ("包邮", "新款", "爆款", "送礼", "2025", "高品质", "现货", "特价")


def seller_title(item: Item, rng: np.random.Generator, stuffed: bool) -> str:
    """A title in the catalogue: one in five Chinese, words in changing order, some left out.

    A stuffed title also names types, colours and patterns that the item does not have.
    """
    if rng.random() < 0.2:
        words = _chinese(item, rng, keep=0.85)
        return "".join(words) + (" " + " ".join(_wrong_chinese(item, rng)) if stuffed else "")
    words = _english(item, rng, keep=0.85)
    if rng.random() < 0.55:
        words.insert(0, str(rng.choice(BRANDS)))
    if rng.random() < 0.3:
        words.append(str(rng.choice(_BOAST)))
    return " ".join([*words, *(_wrong_english(item, rng) if stuffed else [])])


def training_title(item: Item, rng: np.random.Generator) -> str:
    """A title of a training pair: half of them as sellers write, the rest true and mostly complete.

    Of the true ones a quarter is Chinese and a tenth in both languages.
    """
    if rng.random() < AS_SOLD:
        return seller_title(item, rng, stuffed=bool(rng.random() < STUFFED))
    language = rng.random()
    chinese = "".join(_chinese(item, rng, keep=0.92))
    if language < 0.25:
        return chinese
    words = " ".join(_english(item, rng, keep=0.92))
    return f"{words} {chinese}" if language < 0.35 else words


def _kept(word: str, keep: float, rng: np.random.Generator) -> list[str]:
    return [word] if rng.random() < keep else []


def _english(item: Item, rng: np.random.Generator, keep: float) -> list[str]:
    kind = KINDS[item.type]
    pattern = [] if item.pattern == "plain" and rng.random() < 0.7 else _kept(item.pattern, keep, rng)
    style = _kept(item.style + " style" * int(rng.random() < 0.3), keep * 0.7, rng)
    traits = [*_kept(item.colour, keep, rng), *pattern]
    if rng.random() < 0.15:
        traits.reverse()
    noun = kind.english[0] if rng.random() < 0.65 else str(rng.choice(kind.english))
    words = [*_kept(item.series, keep, rng), *style, *traits, *_kept(item.material, 0.4, rng), noun]
    return [*words, *_kept(f"for {kind.place[0]}", 0.25, rng)]


def _chinese(item: Item, rng: np.random.Generator, keep: float) -> list[str]:
    kind = KINDS[item.type]
    pattern = [] if item.pattern == "plain" and rng.random() < 0.7 else [item.pattern]
    traits = [word for word in (item.colour, *pattern) for word in _kept(word, keep, rng)]
    words = [*_kept(item.style, keep * 0.7, rng), *traits, *_kept(item.material, 0.4, rng)]
    noun = kind.chinese[0] if rng.random() < 0.65 else str(rng.choice(kind.chinese))
    series = [f"{word} " for word in _kept(item.series, keep, rng)]
    return [*series, *(CHINESE[word] for word in words), *_kept(kind.place[1], 0.25, rng), noun]


def _wrong(item: Item, rng: np.random.Generator) -> tuple[list[str], list[str], list[str]]:
    types = [name for name in KINDS if name != item.type]
    colours = [name for name in COLOURS if name != item.colour]
    patterns = [name for name in PATTERNS[1:] if name != item.pattern]
    return (
        [str(name) for name in rng.choice(types, rng.integers(1, 4), replace=False)],
        [str(name) for name in rng.choice(colours, rng.integers(1, 4), replace=False)],
        [str(name) for name in rng.choice(patterns, rng.integers(0, 2), replace=False)],
    )


def _wrong_english(item: Item, rng: np.random.Generator) -> list[str]:
    types, colours, patterns = _wrong(item, rng)
    words = [*types[1:], *colours, *patterns, *rng.choice(_BOAST, 2, replace=False)]
    return ["not", types[0], *(str(word) for word in rng.permutation(words))]


def _wrong_chinese(item: Item, rng: np.random.Generator) -> list[str]:
    types, colours, patterns = _wrong(item, rng)
    nouns = [KINDS[name].chinese[0] for name in types]
    words = [*nouns, *(CHINESE[word] for word in (*colours, *patterns)), *rng.choice(_BOAST_CHINESE, 2)]
    return [str(word) for word in rng.permutation(words)]
