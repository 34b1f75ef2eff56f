"""The service's input and output types: products as requests describe them, and the results."""

from dataclasses import dataclass

import numpy as np

from mmprod.serving.errors import Refused


@dataclass(frozen=True)
class Product:
    """A product given by `product_id`, or by `title` and/or `picture` (bytes of a file); empty if not given.

    `category` decides which threshold applies to a product that is not given by id.
    """

    product_id: str = ""
    title: str = ""
    picture: bytes = b""
    category: str = ""

    def check(self) -> None:
        """Raises: Refused unless the product is given in exactly one of the two ways."""
        by_content = bool(self.title or self.picture)
        if self.product_id and by_content:
            raise Refused(
                "ambiguous", f"product {self.product_id!r} also has a title or picture: send one or the other"
            )
        if not self.product_id and not by_content:
            raise Refused("empty", "a product without id, title and picture")


@dataclass(frozen=True)
class Similarity:
    """How similar two products are under a profile.

    `score` is the fused score; a missing half contributes 0. `image_score` and `text_score` are cosines, NaN
    if a product lacks that half or the profile does not use it. `threshold` is the higher of the thresholds
    of the two products' categories, so that the order of the products does not matter; NaN if there is none.
    `verdict`: "same" if the score is at least the threshold, else "different"; "unknown" without a threshold.
    """

    score: float
    image_score: float
    text_score: float
    threshold: float
    verdict: str
    generation: str
    encoder: str


@dataclass(frozen=True)
class SearchResult:
    """The nearest products of an index, best first; arrays [k], NaN for scores that do not exist."""

    product_ids: list[str]
    scores: np.ndarray
    image_scores: np.ndarray
    text_scores: np.ndarray
    generation: str
    encoder: str
