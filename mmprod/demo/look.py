"""The look of an item: its colours, print and material, shared by all shapes."""

from collections.abc import Sequence

import numpy as np

from mmprod.demo.curves import Points, tube
from mmprod.demo.items import Item
from mmprod.demo.surface import Colour, Part, Print
from mmprod.demo.vocabulary import COLOURS

BRASS: Colour = (188, 148, 72)
STEEL: Colour = (196, 199, 204)
CHARCOAL: Colour = (58, 58, 62)
OAK: Colour = (205, 165, 118)
WALNUT: Colour = (98, 64, 42)
CREAM: Colour = (243, 237, 224)

_FINISHES: dict[str, tuple[float, float]] = {  # gloss, weave
    "metal": (0.55, 0), "ceramic": (0.45, 0), "wood": (0.15, 0), "enamel": (0.5, 0), "glass": (0.8, 0),
    "velvet": (0.22, 0), "leather": (0.35, 0), "linen": (0.02, 0.07), "cotton": (0.03, 0.02),
    "silk": (0.45, 0), "canvas": (0.02, 0.06), "wool": (0.02, 0.08), "straw": (0.06, 0.14),
    "plastic": (0.4, 0),
}  # fmt: skip


class Look:
    """Makes the parts of one item; shapes say where a part is, this says what it is made of."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.minimalist, self.vintage = item.style == "minimalist", item.style == "vintage"
        self.colour = _shade(COLOURS[item.colour], item.traits[8], item.traits[9])
        self.gloss, self.weave = _FINISHES[item.material]
        self.metal = BRASS if self.vintage else STEEL
        self.wood = {"minimalist": OAK, "classic": CHARCOAL, "vintage": WALNUT}[item.style]
        self._print = None if item.pattern == "plain" else self._make_print()

    def _make_print(self) -> Print:
        pale = self.item.colour in {"white", "yellow", "grey", "pink"}
        item = self.item
        upright = item.traits[6] < 0.3
        angle = 0.0 if not upright else np.pi / 2
        if item.pattern in {"checked", "dotted"} and item.traits[6] > 0.6:
            angle = np.pi / 4
        repeats = {"striped": (3.4, 5.6), "dotted": (3.4, 5.4), "checked": (3.0, 4.8)}.get(
            item.pattern, (2.8, 4.2)
        )
        return Print(item.pattern, CHARCOAL if pale else CREAM, item.between(7, *repeats), angle)

    def body(self, outline: Points, puff: float = 0.12, turned: tuple[float, float] | None = None) -> Part:
        """The product's own material: its colour, its print."""
        return Part(outline, self.colour, self._print, puff, self.gloss, self.weave, turned)

    def plain(self, outline: Points, puff: float = 0.05, shade: float = 1.0) -> Part:
        """The product's colour without its print, lighter or darker by `shade`."""
        return Part(outline, toned(self.colour, shade), None, puff, self.gloss, self.weave)

    def cloth(self, outline: Points, colour: Colour, puff: float = 0.04) -> Part:
        """A dull part of another colour."""
        return Part(outline, colour, None, puff, 0.04)

    def fitting(self, outline: Points, puff: float = 0.025) -> Part:
        """Something shiny: brass on vintage items, steel otherwise."""
        return Part(outline, self.metal, None, puff, 0.7)

    def timber(self, outline: Points, puff: float = 0.03) -> Part:
        """Legs and stands: pale oak, black or walnut by style."""
        return Part(outline, self.wood, None, puff, 0.2)

    def crease(
        self, path: Points | Sequence[tuple[float, float]], width: float = 0.02, alpha: float = 0.22
    ) -> Part:
        """A seam or fold: a faint dark line."""
        return Part(tube(path, width), toned(self.colour, 0.35), None, 0.01, 0, alpha=alpha)


def toned(colour: Colour, shade: float) -> Colour:
    """`colour` darker (below 1) or lighter (towards white, above 1)."""
    red, green, blue = (c * shade if shade <= 1 else 255 - (255 - c) * (2 - shade) for c in colour)
    return red, green, blue


def _shade(colour: Colour, light: float, warm: float) -> Colour:
    """The item's own shade of a named colour: up to 9 % lighter or darker and a little warmer or cooler."""
    red, green, blue = toned(colour, 0.91 + 0.18 * light)
    return red * (0.97 + 0.06 * warm), green, blue * (1.03 - 0.06 * warm)
