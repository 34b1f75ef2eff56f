"""Second looks with BLIP's matching head: the top of an answer put in a better order."""

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
    """The `first` products of an answer, ordered by P(`text` describes the picture); the rest as they were.

    That is their `match_score`; those without a usable picture have none and come after those that have one.
    Raises: InputError for an encoder that can't match, or an empty text.
    """
    from mmprod.encoders.blip.match import match_probabilities  # seconds to import

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
    """A product's title, to match pictures of its neighbours with. Raises: InputError when it has none."""
    record = store.get(product_id)
    if record is None or not record.title:
        raise InputError(f"product {product_id!r} has no title that pictures could be matched with")
    return record.title


def picture_of(config: Config, store: Store, record: Record) -> Image.Image | None:
    """A product's picture as RGB; None when there is none that can be used."""
    data = store.picture(record.image_hash)
    try:
        return decode(data, config.images.max_pixels) if data else None
    except BadImage:
        return None
