"""Items of the sample marketplace; sellers' listings refer to them."""

from dataclasses import dataclass

import numpy as np

from mmprod.demo.vocabulary import COLOUR_SHARES, COLOURS, KINDS, PATTERN_SHARES, PATTERNS, SERIES, STYLES

TRAITS = 10  # numbers in [0, 1) that make an item's geometry its own
SPREAD = 0.12  # how far an item's shape may lie from that of its series
FAVOURED = 0.2  # share of items in one of their type's favourite colours and patterns


@dataclass(frozen=True)
class Item:
    """One thing that can be bought: two listings show the same item exactly when `item_id` is equal."""

    item_id: str
    type: str
    colour: str
    pattern: str
    material: str
    style: str
    series: str  # the maker's name for a line of products of one shape; sellers mostly print it
    traits: tuple[float, ...]

    def between(self, trait: int, low: float, high: float) -> float:
        """The item's own value for one measure of its shape, in [low, high)."""
        return low + (high - low) * self.traits[trait]


def make_items(count: int, seed: int, prefix: str) -> list[Item]:
    """`count` items, each drawn from its own random stream, ids `prefix` and five digits.

    Types take turns, colours and patterns come in uneven shares; minimalist items are always plain.
    """
    return [_item(number, seed, prefix) for number in range(count)]


def _item(number: int, seed: int, prefix: str) -> Item:
    rng = np.random.default_rng([seed, number])
    type_ = list(KINDS)[number % len(KINDS)]
    colour, pattern = rng.choice(list(COLOURS), p=COLOUR_SHARES), rng.choice(PATTERNS, p=PATTERN_SHARES)
    if rng.random() < FAVOURED:
        colour, pattern = rng.choice(KINDS[type_].favourites)
    series = int(rng.integers(len(SERIES)))
    styles = STYLES if pattern == "plain" else STYLES[1:]
    return Item(
        item_id=f"{prefix}{number:05d}",
        type=type_,
        colour=str(colour),
        pattern=str(pattern),
        material=str(rng.choice(KINDS[type_].materials)),
        style=str(rng.choice(styles)),
        series=str(SERIES[series]),
        traits=_traits(type_, series, rng),
    )


def _traits(type_: str, series: int, rng: np.random.Generator) -> tuple[float, ...]:
    """The shape of a series of this type, whatever the seed, and the item's own small difference from it."""
    shape = np.random.default_rng([list(KINDS).index(type_), series]).random(TRAITS)
    own = np.clip(shape + rng.uniform(-SPREAD, SPREAD, TRAITS), 0, 0.999999)
    return tuple(float(trait) for trait in own)
