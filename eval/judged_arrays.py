"""A survey's tables as arrays: its anchors, the pairs drawn from its pool, and a system's ranked lists."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmprod.eval.estimate import Floats, Ints
from mmprod.storage.errors import InputError

UNJUDGED = -1


@dataclass(frozen=True)
class Sample:
    """The anchors that were drawn, one entry each in the order of ANCHOR.

    `stratum`: number of the stratum (category and band); `population`: number of anchors in it. `category`
    and `band` are indices into `categories` and `bands`, the sorted names.
    """

    ids: list[str]
    weight: Floats
    population: Floats
    stratum: Ints
    category: Ints
    band: Ints
    categories: list[str]
    bands: list[str]

    def code_of(self, category: str) -> int:
        """The number of a category. Raises: InputError for one that no anchor has."""
        if category not in self.categories:
            raise InputError(f"no anchor of category {category!r}; there are {', '.join(self.categories)}")
        return self.categories.index(category)


@dataclass(frozen=True)
class Pool:
    """The pairs that were drawn, one entry each in the order of PAIR.

    A part is a rank band of an anchor, from which pairs were drawn at random. By pair: `anchor`; `verdict`, 1
    same, 0 not, -1 unjudged; `part`, the part's number. By part: `size`, the number of pooled pairs;
    `judged`, how many of them have a verdict; `of`, their anchor; `first`, the first rank of the band.
    """

    anchor: Ints
    verdict: NDArray[np.int8]
    part: Ints
    size: Floats
    judged: Floats
    of: Ints
    first: Ints

    @cached_property
    def stands_for(self) -> Floats:
        """float64[pairs]: how many products of its rank band each pair represents, 0 if it is unjudged.

        The judged pairs of a part are treated as drawn at random, without replacement, from all pairs pooled
        in it: drawn by the survey, and answered at random. With m verdicts on M products, each judged product
        represents M/m of them (Horvitz & Thompson, JASA 47, 1952).
        """
        each = self.size / np.maximum(self.judged, 1)
        return np.where(self.verdict == UNJUDGED, 0, each[self.part])


@dataclass(frozen=True)
class Lists:
    """A system's ranked lists, concatenated by anchor and rank; an entry is a product in a list.

    `pair`: its index in `Pool`, -1 if it was not drawn; `band`: the index of its rank band, by its best rank
    over all systems; `row`: its row in CANDIDATE.
    """

    anchor: Ints
    rank: Ints
    verdict: NDArray[np.int8]
    band: Ints
    pair: Ints
    row: Ints
