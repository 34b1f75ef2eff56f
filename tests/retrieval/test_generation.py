"""Every search path against brute force; refusals of what doesn't fit."""

from collections.abc import Callable

import numpy as np
import pytest

from mmprod.retrieval import exact
from mmprod.retrieval.generation import Hits
from mmprod.storage.errors import InputError, StateError

WEIGHTS = [(0.5, 0.5), (0.7, 0.3), (1.0, 0.0), (0.0, 1.0)]
FACTORIES = [("Flat", 1), ("IVF8,Flat", 8), ("HNSW32", 1), ("IVF8,Flat,RFlat", 8)]


def agrees(hits: Hits, fused: np.ndarray, queries: np.ndarray, allowed: np.ndarray) -> None:
    """Scores of brute force; every row allowed, once, with the score it truly has; equal scores by row."""
    excluded = np.flatnonzero(~allowed)
    scores, _ = exact.search(queries, fused, hits.rows.shape[1], excluded)
    assert np.allclose(hits.scores, scores, atol=1e-6)
    assert np.allclose(hits.scores, np.take_along_axis(queries @ fused.T, hits.rows, 1), atol=1e-6)
    assert not np.isin(hits.rows, excluded).any()
    assert all(len(set(row)) == len(row) for row in hits.rows.tolist())
    tied = hits.scores[:, 1:] == hits.scores[:, :-1]
    assert (np.diff(hits.rows, axis=1)[tied] > 0).all()
    assert hits.ids == [[f"p{row:05}" for row in rows] for rows in hits.rows.tolist()]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("factory", "nprobe"), [("Flat", 1), ("IVF8,Flat", 8)])
@pytest.mark.parametrize("k", [1, 10, 150, 10_000])
def test_equals_brute_force(
    weights: tuple[float, float], factory: str, nprobe: int, k: int, opened: Callable
) -> None:
    catalogue, generation = opened(400, weights, factory, nprobe)
    queries = catalogue.fused[:40]
    hits = generation.search(queries, k, encoder="encoder-a")
    assert hits.rows.shape == (40, min(k, len(catalogue.fused)))
    agrees(hits, catalogue.fused, queries, np.ones(len(catalogue.fused), bool))


@pytest.mark.parametrize(
    ("category", "paths"),
    [
        ("Home", {"Home > Lighting", "Home > Lighting > Lamps"}),
        ("Home > Lighting", {"Home > Lighting", "Home > Lighting > Lamps"}),
        ("Home > Lighting > Lamps", {"Home > Lighting > Lamps"}),
        ("Homeware", {"Homeware"}),
        (None, {"Home > Lighting", "Home > Lighting > Lamps", "Homeware", "Sport > Balls", ""}),
    ],
)
@pytest.mark.parametrize(("factory", "nprobe"), FACTORIES)
def test_filters_equal_brute_force(
    category: str | None, paths: set[str], factory: str, nprobe: int, opened: Callable
) -> None:
    catalogue, generation = opened(400, factory=factory, nprobe=nprobe)
    allowed = np.array([path in paths for path in catalogue.items["category"].to_pylist()])
    allowed[[0, 5, 7]] = False
    for k in (7, 10_000):
        hits = generation.search(
            catalogue.fused[:9], k, encoder="encoder-a", category=category, exclude_rows=np.array([0, 5, 7])
        )
        assert hits.rows.shape == (9, min(k, allowed.sum()))
        agrees(hits, catalogue.fused, catalogue.fused[:9], allowed)


def test_one_list_still_gives_k_answers(opened: Callable) -> None:
    catalogue, generation = opened(400, factory="IVF32,Flat", nprobe=1)
    hits = generation.search(catalogue.fused[:5], 300, encoder="encoder-a")
    agrees(hits, catalogue.fused, catalogue.fused[:5], np.ones(len(catalogue.fused), bool))
    assert hits.rows.shape == (5, 300)


def test_more_lists_more_recall(opened: Callable) -> None:
    catalogue, generation = opened(3000, factory="IVF32,Flat", nprobe=1)
    _, true = exact.search(catalogue.fused[:200], catalogue.fused, 10)

    def recall(nprobe: int) -> float:
        rows = generation.search(catalogue.fused[:200], 10, encoder="encoder-a", nprobe=nprobe).rows
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, true, strict=True)]))

    assert recall(1) < 0.7
    assert recall(24) > 0.95
    assert recall(32) > 0.995


def test_half_precision_queries_and_no_queries(opened: Callable) -> None:
    catalogue, generation = opened()
    narrow = generation.search(catalogue.fused[:3].astype(np.float16), 5, encoder="encoder-a")
    assert narrow.ids == generation.search(catalogue.fused[:3], 5, encoder="encoder-a").ids
    assert generation.search(catalogue.fused[:0], 5, encoder="encoder-a").ids == []


def test_everything_excluded(opened: Callable) -> None:
    catalogue, generation = opened()
    everything = np.arange(len(generation))
    hits = generation.search(catalogue.fused[:2], 5, encoder="encoder-a", exclude_rows=everything)
    assert hits.ids == [[], []]


def test_another_encoder_is_refused_with_both_fingerprints(opened: Callable) -> None:
    catalogue, generation = opened()
    with pytest.raises(StateError, match=r"(?s)encoder-b.*encoder-a"):
        generation.search(catalogue.fused[:1], 5, encoder="encoder-b")


@pytest.mark.parametrize("k", [0, -1, 10_001, 10**9])
def test_k_out_of_range(k: int, opened: Callable) -> None:
    catalogue, generation = opened()
    with pytest.raises(InputError, match=f"k is {k}, want 1 to 10000"):
        generation.search(catalogue.fused[:1], k, encoder="encoder-a")


@pytest.mark.parametrize("nprobe", [0, -3, 9])
def test_nprobe_out_of_range(nprobe: int, opened: Callable) -> None:
    catalogue, generation = opened(factory="IVF8,Flat")
    with pytest.raises(InputError, match=f"nprobe is {nprobe}, want 1 to 8"):
        generation.search(catalogue.fused[:1], 5, encoder="encoder-a", nprobe=nprobe)


@pytest.mark.parametrize(
    ("bad", "reason"), [(np.nan, "NaN"), (np.inf, "inf"), (0.0, "zero"), (3.0, "over 1")]
)
def test_unusable_query(bad: float, reason: str, opened: Callable) -> None:
    catalogue, generation = opened()
    query = np.full((1, catalogue.fused.shape[1]), bad, np.float32)
    with pytest.raises(InputError, match=reason):
        generation.search(query, 5, encoder="encoder-a")


def test_query_of_another_dimension(opened: Callable) -> None:
    _, generation = opened()
    with pytest.raises(InputError, match=r"\(1, 16\), want \(n, 32\)"):
        generation.search(np.ones((1, 16), np.float32) / 4, 5, encoder="encoder-a")


@pytest.mark.parametrize("category", ["", "Hom", "home > lighting", "Home > Lightning", "Lamps"])
def test_unknown_category_names_close_ones(category: str, opened: Callable) -> None:
    catalogue, generation = opened()
    with pytest.raises(InputError, match=f"unknown category {category!r}: did you mean 'Home"):
        generation.search(catalogue.fused[:1], 5, encoder="encoder-a", category=category)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat"])
def test_vectors_are_found_by_id_and_by_row(factory: str, opened: Callable) -> None:
    catalogue, generation = opened(factory=factory)
    assert generation.row_of("p00123") == 123
    assert np.array_equal(generation.vector("p00123"), catalogue.fused[123])
    assert np.array_equal(generation.vectors(np.array([5, 5, 2])), catalogue.fused[[5, 5, 2]])
    for unknown in ("nobody", ""):
        with pytest.raises(InputError, match=f"product {unknown!r} is not among the {len(generation)}"):
            generation.vector(unknown)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("factory", ["Flat", "SQ8"])
def test_component_scores_are_the_cosines_apart(
    weights: tuple[float, float], factory: str, opened: Callable
) -> None:
    catalogue, generation = opened(300, weights, factory)
    rows = np.random.default_rng(1).integers(0, len(generation), (20, 30))
    found = generation.component_scores(generation.vectors(np.arange(20)), rows)
    for scores, part, weight in zip(found, (catalogue.image, catalogue.text), weights, strict=True):
        cosines = np.einsum("qd,qkd->qk", part[:20], part[rows])
        there = part.any(axis=1)
        known = there[:20, None] & there[rows] & (weight > 0)
        assert np.array_equal(~np.isnan(scores), known)
        assert np.allclose(scores[known], cosines[known], atol=1e-3 if factory == "Flat" else 0.05)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.7, 0.3)])
def test_score_is_the_weighted_sum_of_cosines(weights: tuple[float, float], opened: Callable) -> None:
    catalogue, generation = opened(300, weights)
    hits = generation.search(catalogue.fused[:50], 20, encoder="encoder-a")
    image, text = generation.component_scores(catalogue.fused[:50], hits.rows)
    expected = weights[0] * np.nan_to_num(image) + weights[1] * np.nan_to_num(text)
    assert np.allclose(hits.scores, expected, atol=1e-3)
