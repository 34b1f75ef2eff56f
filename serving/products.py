"""From products given by title and picture to vectors as an index holds them."""

from collections.abc import Sequence

import numpy as np

from mmprod.retrieval.folder import Build
from mmprod.retrieval.fusion import fuse, half_width
from mmprod.serving.encoding import Encoding
from mmprod.serving.types import Product


def encode_products(encoding: Encoding, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
    """Image and text vectors of products given by content, float32 [n, width] each; zeros if not given.

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


def fuse_for_index(image: np.ndarray, text: np.ndarray, build: Build) -> np.ndarray:
    """Image and text vectors fused as in an index with that build, float32 [n, dim]."""
    both = build.weights[0] > 0 and build.weights[1] > 0
    mixed = both and build.dim == build.width
    return (half_width if mixed else fuse)(image, text, build.weights)
