"""Strata of anchors: their category, cut at a level, and their sales band."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mmprod.storage.errors import InputError

NO_CATEGORY = "(no category)"
ANY_SALES = "any sales"

_LEVELS = " > "  # the separator of mmprod.datasets.schemas.category_path


def cut(category: str, level: int) -> str:
    """The widest `level` levels of a category path: ``cut("Home > Lighting > Lamps", 1)`` is ``"Home"``.

    NO_CATEGORY for "". Raises: InputError for a level below 1.
    """
    if level < 1:
        raise InputError(f"the level of categories is {level}, want at least 1")
    return _LEVELS.join(category.split(_LEVELS)[:level]) or NO_CATEGORY


@dataclass(frozen=True)
class Bands:
    """Sales bands from the top down; `names` has one element more than `above`.

    A product is in the first band whose bound (`above`, descending) its sales exceed, else in the last one.
    Products with unknown sales are in the last band.
    """

    names: tuple[str, ...]
    above: tuple[float, ...]

    @classmethod
    def of(cls, sales: NDArray[np.float64], shares: Sequence[float]) -> "Bands":
        """Bands that end at `shares` of the products from the top: (.1, .5) is top 10 %, 10–50 %, rest.

        `sales`: float64[n], NaN if unknown. Products with equal sales are in the same band: ties across a
        bound all go to the lower band, so "top 10 %" is never more than a tenth, even if most products sell
        nothing.
        Raises: InputError for shares that are not ascending within (0, 1).
        """
        if not all(low < high for low, high in pairwise([0.0, *shares, 1.0])):
            raise InputError(f"bands of sales end at {list(shares)}, want shares ascending within 0 and 1")
        known = len(sales) - int(np.isnan(sales).sum())
        counts = [int(share * len(sales) + 1e-9) for share in shares]  # .29 * 100 is 28.999…
        order = [known - 1 - count for count in counts if count < known]  # NaN sorts after all others
        bounds = [float(bound) for bound in np.partition(sales, order)[order]] if order else []
        above = (*bounds, *[-np.inf] * (len(counts) - len(bounds)))
        return cls(_names(shares), above)

    def index(self, sales: NDArray[np.float64]) -> NDArray[np.int8]:
        """The index in `names` of each product's band, int8[n]; `sales`: float64[n], NaN if unknown."""
        below = np.searchsorted(self.above[::-1], sales, side="left").astype(np.int8)  # number of bounds
        # exceeded
        return np.where(np.isnan(sales), np.int8(len(self.above)), np.int8(len(self.above)) - below)

    def name(self, sales: int | None) -> str:
        """The name of the band of a product with these sales; None: unknown."""
        place = int(self.index(np.array([np.nan if sales is None else sales], np.float64))[0])
        return self.names[place]


def _names(shares: Sequence[float]) -> tuple[str, ...]:
    if not shares:
        return (ANY_SALES,)
    percent = [f"{100 * share:g}" for share in shares]
    between = (f"{low}–{high} %" for low, high in pairwise(percent))
    return (f"top {percent[0]} %", *between, "rest")
