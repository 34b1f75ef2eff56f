"""Reranking: the first results are reordered by BLIP's image-text matching head."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image

from mmprod.datasets.images.images import BadImage, decode
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.store import Store
from mmprod.datasets.text import normalise_title
from mmprod.sections import Config
from mmprod.stages.search.search import Found
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.encoders.clip import Encoder


def rerank(
    config: Config, store: Store, encoder: "Encoder", text: str, found: Sequence[Found], first: int
) -> list[Found]:
    """Reorder the `first` products by P(`text` describes the picture), their `match_score`; keep the rest.

    Products without a usable picture have no `match_score` and come after those that have one.
    Raises: InputError for an encoder without a matching head, or an empty text.
    """
    from mmprod.encoders.blip.match import match_probabilities  # with torch: seconds

    text = normalise_title(text)
    if not text:
        raise InputError("there is no text to match pictures with")
    top = list(found[:first])
    records = store.get_many([product.product_id for product in top])
    pictures = [picture_of(config, store, record) if record else None for record in records]
    usable = [picture for picture in pictures if picture]
    scores = iter(match_probabilities(encoder, usable, [text] * len(usable)).tolist())
    judged = [
        replace(product, match_score=next(scores) if picture else None)
        for product, picture in zip(top, pictures, strict=True)
    ]
    judged.sort(
        key=lambda product: -1.0 if product.match_score is None else product.match_score, reverse=True
    )
    return [replace(product, rank=i) for i, product in enumerate([*judged, *found[first:]], start=1)]


def title_of(store: Store, product_id: str) -> str:
    """A product's title, to be matched with its neighbours' pictures. Raises: InputError if it has none."""
    record = store.get(product_id)
    if record is None or not record.title:
        raise InputError(f"product {product_id!r} has no title that pictures could be matched with")
    return record.title


def picture_of(config: Config, store: Store, record: Record) -> Image.Image | None:
    """A product's picture as RGB; None if it has no usable one."""
    data = store.picture(record.image_hash)
    try:
        return decode(data, config.images.max_pixels) if data else None
    except BadImage:
        return None
