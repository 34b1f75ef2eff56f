"""Accuracy against a known truth: weightings of picture and title, and picture search against keywords."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmprod.datasets.schemas import ITEM
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.eval.runs import Scores, ranked_scores
from mmprod.lake import Lake
from mmprod.retrieval import exact
from mmprod.retrieval.fusion import Weights, fuse_query
from mmprod.retrieval.keyword import KeywordIndex
from mmprod.stages.daily.fused import FusedVectors
from mmprod.stages.open_index import open_index

if TYPE_CHECKING:
    from mmprod.datasets.embeddings.table import EmbeddingTable

WEIGHTINGS: Mapping[str, Weights] = {
    "picture only": (1.0, 0.0),
    "title only": (0.0, 1.0),
    "1:1": (0.5, 0.5),
    "7:3": (0.7, 0.3),
}


@dataclass(frozen=True)
class Query:
    """A text query and the ids of all products that are relevant for it."""

    text: str
    relevant: frozenset[str]


def compare_weights(
    table: "EmbeddingTable", store: Store, relevant: Mapping[str, Set[str]], measures: Sequence[str]
) -> dict[str, Scores]:
    """Scores of each weighting at finding `relevant` products, other listings of an item, by exact search.

    Every product in `relevant` is a query on the whole embedding table, itself excluded; a product without a
    vector under a weighting scores 0. Holds all vectors in memory, so only for samples and the demo.
    """
    depth = max(int(name.rpartition("@")[2] or 10) for name in measures)
    return {
        name: ranked_scores(_ranked(FusedVectors(table, weights), store, relevant, depth), relevant, measures)
        for name, weights in WEIGHTINGS.items()
    }


def _ranked(
    vectors: FusedVectors, store: Store, queries: Mapping[str, Set[str]], depth: int
) -> dict[str, list[str]]:
    ids = np.array(vectors.items(store)[ITEM.names[0]].to_pylist())
    base = np.concatenate(list(vectors))
    rows = np.flatnonzero(np.isin(ids, list(queries)))
    _, found = exact.search(base[rows], base, depth + 1)
    return {
        str(ids[row]): ids[hits[hits != row]][:depth].tolist() for row, hits in zip(rows, found, strict=True)
    }


def compare_search(
    lake: Lake, store: Store, encoder: Encoder, queries: Sequence[Query], k: int = 10
) -> dict[str, Scores]:
    """P@k of the selection index (pictures) and of BM25 over titles, for texts with known answers."""
    relevant = {query.text: query.relevant for query in queries}
    records = list(store.iterate())
    keywords = KeywordIndex([r.product_id for r in records], [r.title for r in records])
    with open_index(lake, "selection") as generation:
        vectors = fuse_query(encoder.titles(list(relevant)), generation.build.weights, generation.build.dim)
        hits = generation.search(vectors, k, encoder=encoder.fingerprint)
    ranked = {
        "picture search": dict(zip(relevant, hits.ids, strict=True)),
        "keyword search": {text: [name for name, _ in keywords.search(text, k)] for text in relevant},
    }
    return {name: ranked_scores(answers, relevant, [f"P@{k}"]) for name, answers in ranked.items()}


def best_possible(queries: Sequence[Query], k: int = 10) -> float:
    """The mean P@k of a perfect ranking; below 1 if a query has fewer than k relevant products."""
    return float(np.mean([min(len(query.relevant), k) / k for query in queries]))


def mean(scores: Scores, measure: str) -> float:
    """Mean of a measure over all queries."""
    return float(np.mean(scores.values[measure]))
