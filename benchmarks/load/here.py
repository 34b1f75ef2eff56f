"""The questions of `shop.workloads`, asked of the service in this process: the cost without a server."""

from collections.abc import Callable
from pathlib import Path

from load.shop import PROFILE, Catalogue

from mmprod.config import load
from mmprod.lake import Lake
from mmprod.serving.products import encode_products
from mmprod.serving.service import Service
from mmprod.serving.types import Product
from mmprod.stages.online.release import current_release

Question = Callable[[int], object]


def questions(shop: Path, known: Catalogue) -> dict[str, Question]:
    """By the names of the workloads: what is to be called with the number of a product."""
    release = current_release(Lake(load(shop / "mmprod.toml").config.lake))
    service = Service.open(release, threads=1)
    encoding = service.encoding

    def content(row: int) -> Product:
        return Product(title=known.titles[row], picture=known.pictures[row])

    def named(row: int) -> Product:
        return Product(known.ids[row])

    return {
        "text_encoder": lambda row: encoding.titles([known.titles[row]]),
        "image_encoder": lambda row: encoding.pictures([known.pictures[row]]),
        "product_encoder": lambda row: encode_products(encoding, [content(row)]),
        "pair_similarity, two ids": lambda row: service.similarity([(named(row), named(0))], PROFILE),
        "pair_similarity, id and upload": lambda row: service.similarity([(named(0), content(row))], PROFILE),
        "product_search, id": lambda row: service.search(named(row), 10, PROFILE),
        "product_search, text": lambda row: service.search(content(row), 10, PROFILE, as_text=True),
    }
