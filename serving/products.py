"""Products as requests name them: by id, or by what they look like and are called."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmprod.encoders.fusion import fuse, half_width
from mmprod.retrieval.folder import Build
from mmprod.serving.encoding import Encoding
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


def encode_products(encoding: Encoding, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
    """Image and text vectors of products given by content, float32 [n, width] each; zeros where not given.

    Raises: Refused for a title or picture that can't be used.
    """
    image, text = (np.zeros((len(products), encoding.width), np.float32) for _ in range(2))
    pictures = [row for row, product in enumerate(products) if product.picture]
    titles = [row for row, product in enumerate(products) if product.title]
    if pictures:
        image[pictures] = encoding.pictures([products[row].picture for row in pictures])
    if titles:
        text[titles] = encoding.titles([products[row].title for row in titles])
    return image, text


def fused(image: np.ndarray, text: np.ndarray, build: Build) -> np.ndarray:
    """Vectors as an index of that build holds them, float32 [n, dim]."""
    both = build.weights[0] > 0 and build.weights[1] > 0
    mixed = both and build.dim == build.width
    return (half_width if mixed else fuse)(image, text, build.weights)
