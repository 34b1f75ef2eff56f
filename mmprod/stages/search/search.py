"""Answers from the current index: products for a text, or the neighbours of a product."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa

from mmprod.datasets.identity import EMPTY
from mmprod.datasets.images.images import MAX_PIXELS
from mmprod.datasets.schemas import category_path
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.lake import Lake
from mmprod.retrieval.fusion import fuse_query
from mmprod.retrieval.generation import MAX_K, Generation, Hits
from mmprod.serving.release import scope_of
from mmprod.stages.daily.groups import groups_of
from mmprod.stages.daily.index import open_index
from mmprod.stages.search.query import Query


@dataclass(frozen=True)
class Found:
    """A product in an answer; scores are cosines in [-1, 1], None where the profile or product has none.

    `match_score` is the probability that the text describes the picture, where an answer was ordered by it.
    `more` counts near copies that were found and folded into this one.
    """

    rank: int
    product_id: str
    score: float
    image_score: float | None
    text_score: float | None
    title: str
    category: str
    match_score: float | None = None
    more: int = 0


@dataclass(frozen=True)
class Wish:
    """Which products, and how many: in a category, from a score on, near copies as one.

    `least` holds by category, or "all", the score from which on a product is shown. With `groups` (schema
    GROUP) products of a group, and those of one picture, are one hit; without, each is its own.
    """

    top: int = 10
    category: str | None = None
    least: Mapping[str, float | None] | float = field(default_factory=dict)
    groups: pa.Table | None = None

    def fits(self, found: Found) -> bool:
        """Whether a product reaches the score of its category, the narrowest that has one."""
        if not isinstance(self.least, Mapping):
            return found.score >= self.least
        scope = scope_of(found.category, self.least)
        limit = self.least[scope] if scope else None
        return limit is None or found.score >= limit


def search_text(
    lake: Lake, store: Store, encoder: Encoder, text: str, profile: str, top: int, category: str | None = None
) -> list[Found]:
    """The products whose vectors fit a text best. Raises InputError for an empty text or unknown category."""
    vector = Query([text]).vector(encoder, MAX_PIXELS)
    return search_vector(lake, store, vector, encoder.fingerprint, profile, Wish(top, category))


def search_vector(
    lake: Lake, store: Store, query: np.ndarray, fingerprint: str, profile: str, wish: Wish
) -> list[Found]:
    """The products that fit a query vector, unit float32 [1, d], of the encoder of that fingerprint best."""
    with open_index(lake, profile) as generation:
        vector = fuse_query(query, generation.build.weights, generation.build.dim)
        return _answer(generation, store, vector, fingerprint, wish)


def search_product(
    lake: Lake, store: Store, product_id: str, profile: str, top: int, category: str | None = None
) -> list[Found]:
    """The products nearest to one of the index, itself left out. Raises InputError for an unknown one."""
    return search_near(lake, store, product_id, profile, Wish(top, category))


def search_near(lake: Lake, store: Store, product_id: str, profile: str, wish: Wish) -> list[Found]:
    """As `search_product`, of which products and how many by `wish`."""
    with open_index(lake, profile) as generation:
        row = generation.row_of(product_id)
        vector = generation.vectors(np.array([row]))
        return _answer(generation, store, vector, generation.build.encoder, wish, np.array([row]))


def _answer(
    generation: Generation,
    store: Store,
    vector: np.ndarray,
    fingerprint: str,
    wish: Wish,
    exclude_rows: np.ndarray | None = None,
) -> list[Found]:
    """Looked for deeper, four times at a time, until enough are left of what is folded and too far off."""
    depth = wish.top
    while True:
        hits = generation.search(
            vector, depth, encoder=fingerprint, category=wish.category, exclude_rows=exclude_rows
        )
        found = [product for product in _found(generation, store, vector, hits) if wish.fits(product)]
        if wish.groups is not None:
            found = _folded(found, store, wish.groups)
        all_seen = len(hits.ids[0]) < depth or depth >= MAX_K
        if len(found) >= wish.top or all_seen or not found:
            return [replace(product, rank=i) for i, product in enumerate(found[: wish.top], 1)]
        depth = min(4 * depth, MAX_K)


def _folded(found: Sequence[Found], store: Store, groups: pa.Table) -> list[Found]:
    """The best of each picture and group, with the number of the others."""
    ids = [product.product_id for product in found]
    records, group = store.get_many(ids), groups_of(groups, ids)
    kept: list[Found] = []
    place: dict[object, int] = {}
    for product, record in zip(found, records, strict=True):
        picture = record.image_hash if record and record.image_hash != EMPTY else None
        keys = [key for key in (picture, group.get(product.product_id)) if key is not None]
        known = next((place[key] for key in keys if key in place), None)
        if known is None:
            known = len(kept)
            kept.append(product)
        else:
            kept[known] = replace(kept[known], more=kept[known].more + 1)
        place |= dict.fromkeys(keys, known)
    return kept


def _found(generation: Generation, store: Store, vector: np.ndarray, hits: Hits) -> list[Found]:
    image, text = (scores[0].tolist() for scores in generation.component_scores(vector, hits.rows))
    found = []
    for i, (product_id, record) in enumerate(zip(hits.ids[0], store.get_many(hits.ids[0]), strict=True)):
        title, category = (record.title, category_path(record.category)) if record else ("", "")
        scores = (float(hits.scores[0, i]), _known(image[i]), _known(text[i]))
        found.append(Found(i + 1, product_id, *scores, title, category))
    return found


def _known(score: float) -> float | None:
    return None if np.isnan(score) else score


def as_table(found: Sequence[Found]) -> pa.Table:
    """An answer as a table, one column for each field of Found."""
    kinds = {
        "rank": pa.int32(),
        "more": pa.int32(),
        "product_id": pa.string(),
        "title": pa.string(),
        "category": pa.string(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in Found.__dataclass_fields__])
    return pa.Table.from_pylist([asdict(product) for product in found], schema=schema)
