"""Answers from the current index: products for a text, or the neighbours of a product."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from mmprod.datasets.errors import InputError
from mmprod.datasets.schemas import category_path
from mmprod.datasets.store import Store
from mmprod.datasets.text import normalise_title
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.fusion import fuse_query
from mmprod.lake import Lake
from mmprod.retrieval.generation import Generation, Hits
from mmprod.stages.index import open_index


@dataclass(frozen=True)
class Found:
    """A product in an answer; scores are cosines in [-1, 1], None where the profile or product has none.

    `match_score` is the probability that the text describes the picture, where an answer was ordered by it.
    """

    rank: int
    product_id: str
    score: float
    image_score: float | None
    text_score: float | None
    title: str
    category: str
    match_score: float | None = None


def search_text(
    lake: Lake, store: Store, encoder: Encoder, text: str, profile: str, top: int, category: str | None = None
) -> list[Found]:
    """The products whose vectors fit a text best. Raises InputError for an empty text or unknown category."""
    query = normalise_title(text)
    if not query:
        raise InputError('the query is empty: say what to look for, e.g. "red dress"')
    with open_index(lake, profile) as generation:
        vector = fuse_query(encoder.titles([query]), generation.build.weights, generation.build.dim)
        hits = generation.search(vector, top, encoder=encoder.fingerprint, category=category)
        return _found(generation, store, vector, hits)


def search_product(
    lake: Lake, store: Store, product_id: str, profile: str, top: int, category: str | None = None
) -> list[Found]:
    """The products nearest to one of the index, itself left out. Raises InputError for an unknown one."""
    with open_index(lake, profile) as generation:
        row = generation.row_of(product_id)
        vector = generation.vectors(np.array([row]))
        hits = generation.search(
            vector, top, encoder=generation.build.encoder, category=category, exclude_rows=np.array([row])
        )
        return _found(generation, store, vector, hits)


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
    kinds = {"rank": pa.int32(), "product_id": pa.string(), "title": pa.string(), "category": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in Found.__dataclass_fields__])
    return pa.Table.from_pylist([asdict(product) for product in found], schema=schema)
