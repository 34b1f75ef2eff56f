"""Is the server right? A value is sent through each model and compared with what this process makes of it.

READY says only that models were loaded: with an unfit numpy in its environment Triton gave empty outputs.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from mmprod.client import Client
from mmprod.datasets.errors import StateError
from mmprod.serving.products import Product, encode_products
from mmprod.serving.service import Answer, Compared, Service

_CLOSE = 1e-4  # largest difference of a score or of a component of a vector
_TITLES = ("red cotton dress", "灯")


def check_server(client: Client, service: Service) -> list[str]:
    """Names of the models whose answers were compared. Raises: StateError for the first that differs."""
    picture = _picture()
    given = [Product(title=_TITLES[0], picture=picture), Product(title=_TITLES[1]), Product(picture=picture)]
    _alike("text_encoder", client.titles(_TITLES), service.encoding.titles(_TITLES))
    _alike("image_encoder", client.pictures([picture]), service.encoding.pictures([picture]))
    for there, here in zip(client.products(given), encode_products(service.encoding, given), strict=True):
        _alike("product_encoder", there, here)
    for profile in service.release.profiles:
        known = service.search(given[0], 2, profile)
        pairs = [(Product(product_id=name), given[0]) for name in known.product_ids]
        _alike(
            f"pair_similarity {profile}",
            _numbers(client.similarity(pairs, profile)),
            _numbers(service.similarity(pairs, profile)),
        )
        _same_answer(f"product_search {profile}", client.search(given[0], 2, profile), known)
    return ["text_encoder", "image_encoder", "product_encoder", "pair_similarity", "product_search"]


def _same_answer(what: str, there: Answer, here: Answer) -> None:
    if there.product_ids != here.product_ids:
        raise StateError(f"{what} finds {there.product_ids}, this process {here.product_ids}")
    _alike(what, there.scores, here.scores)
    if (there.generation, there.encoder) != (here.generation, here.encoder):
        raise StateError(
            f"{what} is of {there.generation}, {there.encoder}, not {here.generation}, {here.encoder}"
        )


def _alike(what: str, there: np.ndarray, here: np.ndarray) -> None:
    if there is None or there.shape != here.shape:
        shape = None if there is None else there.shape
        raise StateError(f"{what} answers with shape {shape}, want {here.shape}: is its numpy below 2?")
    if not np.allclose(there, here, atol=_CLOSE, equal_nan=True):
        raise StateError(f"{what} differs from this process by {np.nanmax(np.abs(there - here)):.3g}")


def _numbers(found: Sequence[Compared]) -> np.ndarray:
    return np.array([(one.score, one.image_score, one.text_score, one.threshold) for one in found])


def _picture() -> bytes:
    pixels = np.indices((96, 128)).sum(axis=0)[..., None] * np.array([1, 0, 1]) % 256
    out = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "JPEG")
    return out.getvalue()
