"""Answers a search request: chooses the encoder, applies the minimum score, folds near copies, reranks."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmprod.reader import Reader
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.query import Query
from mmprod.stages.search.rerank import rerank, title_of
from mmprod.stages.search.search import Found, Wish, search_near, search_vector
from mmprod.stages.thresholds import thresholds
from mmprod.storage.errors import InputError

LABELS = "labels"
"""Given instead of a score: use the threshold that reviewers' labels suggest."""


@dataclass(frozen=True)
class Asked:
    """A search request: either a query, or the neighbours of `product`.

    `least`: the lowest score returned, a number or LABELS. `fold`: return near copies as one product.
    `rerank`: reorder this many of the first products by BLIP's matching score.
    """

    query: Query
    product: str | None
    profile: str
    category: str | None = None
    top: int = 10
    least: str | None = None
    fold: bool = True
    rerank: int = 0

    @property
    def name(self) -> str:
        """A description of what is searched for."""
        return str(self.query) if self.product is None else f"like {self.product}"


def answer(reader: Reader, asked: Asked) -> list[Found]:
    """The products found, best first.

    Raises: InputError unless exactly one of query and product is given, and for an unusable category, product
    or score; StateError if there is no index.
    """
    if bool(asked.query.towers) == (asked.product is not None):
        raise InputError('say what to look for: either a text, "red dress", or a picture, or a product')
    store, generation, config = reader.store, reader.index(asked.profile), reader.config
    fingerprint = generation.build.encoder
    groups = reader.groups() if asked.fold else None
    wish = Wish(max(asked.top, asked.rerank), asked.category, _least(reader, asked, fingerprint), groups)
    blip = load_encoder(reader.lake, config, fingerprint) if asked.rerank else None
    if asked.product is None:
        encoder = blip or reader.encoder(fingerprint, asked.query.towers)
        vector = asked.query.vector(encoder, config.images.max_pixels)
        found = search_vector(generation, store, vector, fingerprint, wish)
    else:
        found = search_near(generation, store, asked.product, wish)
    if blip:
        text = " ".join(asked.query.texts) or title_of(store, asked.product or "")
        found = rerank(config, store, blip, text, found, asked.rerank)
    return found[: asked.top]


def _least(reader: Reader, asked: Asked, fingerprint: str) -> float | Mapping[str, float | None]:
    """The lowest score returned: a number, or thresholds by category from labels."""
    lake, config = reader.lake, reader.config
    if asked.least is None:
        return {}
    if asked.least != LABELS:
        try:
            return float(asked.least)
        except ValueError as error:
            raise InputError(f"--min-score is {asked.least!r}, want a number or the word labels") from error
    if not (found := thresholds(lake, config, asked.profile, fingerprint)):
        raise InputError(
            f"no labels of profile {asked.profile} suggest a score: review it (`mmprod review sample`), "
            f"set serving.thresholds.{asked.profile}, or give a number"
        )
    return found
