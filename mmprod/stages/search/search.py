"""Search in an index: products for a query vector, or the neighbours of a product."""

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
from mmprod.stages.open_index import open_index
from mmprod.stages.search.query import Query


@dataclass(frozen=True)
class Found:
    """A product in a result; scores are cosines in [-1, 1], None if the profile or the product has none.

    `match_score` is the probability that the text describes the picture, if results were reranked. `more`
    counts the near copies folded into this product.
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
    """Restrictions on a search: number of products, category, minimum score, folding of near copies.

    `least`: the lowest score returned, a number or a mapping by category or "all". With `groups` (schema
    GROUP) products of one group, or with one picture, are folded into one hit; without it every product is a
    hit.
    """

    top: int = 10
    category: str | None = None
    least: Mapping[str, float | None] | float = field(default_factory=dict)
    groups: pa.Table | None = None

    def fits(self, found: Found) -> bool:
        """Whether a product's score reaches the minimum of the narrowest category that has one."""
        if not isinstance(self.least, Mapping):
            return found.score >= self.least
        scope = scope_of(found.category, self.least)
        limit = self.least[scope] if scope else None
        return limit is None or found.score >= limit


def search_text(
    lake: Lake, store: Store, encoder: Encoder, text: str, profile: str, top: int, category: str | None = None
) -> list[Found]:
    """The products whose vectors fit a text best. Raises: InputError for an empty text or bad category."""
    vector = Query([text]).vector(encoder, MAX_PIXELS)
    with open_index(lake, profile) as generation:
        return search_vector(generation, store, vector, encoder.fingerprint, Wish(top, category))


def search_vector(
    generation: Generation, store: Store, query: np.ndarray, fingerprint: str, wish: Wish
) -> list[Found]:
    """The products that fit `query` best, a unit vector float32 [1, d] of the encoder `fingerprint`."""
    vector = fuse_query(query, generation.build.weights, generation.build.dim)
    return _answer(generation, store, vector, fingerprint, wish)


def search_product(
    lake: Lake, store: Store, product_id: str, profile: str, top: int, category: str | None = None
) -> list[Found]:
    """The nearest neighbours of a product, itself excluded. Raises: InputError if the index lacks it."""
    with open_index(lake, profile) as generation:
        return search_near(generation, store, product_id, Wish(top, category))


def search_near(generation: Generation, store: Store, product_id: str, wish: Wish) -> list[Found]:
    """As `search_product`, in an open index and restricted by `wish`."""
    row = np.array([generation.row_of(product_id)])
    vector = generation.vectors(row)
    return _answer(generation, store, vector, generation.build.encoder, wish, row)


def _answer(
    generation: Generation,
    store: Store,
    vector: np.ndarray,
    fingerprint: str,
    wish: Wish,
    exclude_rows: np.ndarray | None = None,
) -> list[Found]:
    """Search with growing depth, four times more each time, until enough hits are left after filtering."""
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
    """The best product of each picture and group, with the number of the others in `more`."""
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
    """Results as a table with one column for each field of Found."""
    kinds = {
        "rank": pa.int32(),
        "more": pa.int32(),
        "product_id": pa.string(),
        "title": pa.string(),
        "category": pa.string(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in Found.__dataclass_fields__])
    return pa.Table.from_pylist([asdict(product) for product in found], schema=schema)
