"""What callers give and get: products as requests name them, and the answers about them."""

from dataclasses import dataclass

import numpy as np

from mmprod.serving.refused import Refused


@dataclass(frozen=True)
class Product:
    """A product by `product_id`, or by `title` and/or `picture` (bytes of a file); empty where not given.

    `category` decides which threshold holds for a product that is not given by id.
    """

    product_id: str = ""
    title: str = ""
    picture: bytes = b""
    category: str = ""

    def check(self) -> None:
        """Refused unless it is given in exactly one of the two ways."""
        by_content = bool(self.title or self.picture)
        if self.product_id and by_content:
            raise Refused(
                "ambiguous", f"product {self.product_id!r} also has a title or picture: send either"
            )
        if not self.product_id and not by_content:
            raise Refused("empty", "a product without id, title and picture")


@dataclass(frozen=True)
class Compared:
    """How alike two products are under a profile.

    `score` is the fused score, a missing half counting nothing; `image_score` and `text_score` are cosines,
    NaN where a side has none or the profile doesn't count it. `threshold`: the stricter of those of the two
    products' categories, so that sides may be exchanged; NaN where there is none. `verdict`: "same" where
    the score reaches it, else "different"; "unknown" without a threshold.
    """

    score: float
    image_score: float
    text_score: float
    threshold: float
    verdict: str
    generation: str
    encoder: str


@dataclass(frozen=True)
class Answer:
    """The products of an index that fit best, best first; arrays [k], NaN for scores that there are not."""

    product_ids: list[str]
    scores: np.ndarray
    image_scores: np.ndarray
    text_scores: np.ndarray
    generation: str
    encoder: str
