"""Retrieval figures against trec_eval (ir-measures) and brute force, with ties, duplicates and chunks."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.eval import retrieval
from mmprod.eval.retrieval import (
    average_precision,
    means,
    picture_to_text,
    places,
    recall_at,
    text_to_picture,
)
from mmprod.storage.errors import InputError


def vectors(n: int, seed: int, d: int = 12) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def identities(n: int, seed: int, of: int) -> np.ndarray:
    """Numbers below `of`, a quarter unknown."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, 3)) < 0.25, -1, rng.integers(of, size=(n, 3)))


def test_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5], [4, 3, 2, 1]])
    relevant = np.array([[0, 1, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    found = places(scores, relevant)
    assert [row.tolist() for row in found] == [[2, 4], [1], [4], []]  # the tie goes against the model
    assert recall_at(found, 1).tolist() == [0, 1, 0, 0]
    assert recall_at(found, 3).tolist() == [1, 1, 0, 0]
    assert average_precision(found).tolist() == [(1 / 2 + 2 / 4) / 2, 1, 1 / 4, 0]


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 30), st.floats(0, 1))
def test_equal_to_trec_eval(seed: int, q: int, n: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(n, dtype=np.float64), (q, 1)), axis=1)  # no ties
    relevant = rng.random((q, n)) < share
    run = {f"q{i}": {f"d{j}": scores[i, j] for j in range(n)} for i in range(q)}
    qrels = {f"q{i}": {f"d{j}": int(relevant[i, j]) for j in range(n)} for i in range(q)}
    measures = [ir_measures.Success @ 1, ir_measures.Success @ 5, ir_measures.AP]
    theirs = {
        (str(m.measure), m.query_id): m.value for m in ir_measures.pytrec_eval.iter_calc(measures, qrels, run)
    }
    found = places(scores, relevant)
    ours = {
        "Success@1": recall_at(found, 1),
        "Success@5": recall_at(found, 5),
        "AP": average_precision(found),
    }
    for name, values in ours.items():
        for i, value in enumerate(values):
            assert value == pytest.approx(theirs.get((name, f"q{i}"), 0.0), abs=1e-6), name


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_ties_go_against_the_model(seed: int, n: int) -> None:
    """As if whatever is not relevant scored a little more."""
    rng = np.random.default_rng(seed)
    scores, relevant = rng.integers(3, size=(4, n)).astype(float), rng.random((4, n)) < 0.5
    tied, broken = places(scores, relevant), places(scores + 0.1 * ~relevant, relevant)
    assert [row.tolist() for row in tied] == [row.tolist() for row in broken]


def brute(queries: np.ndarray, candidates: np.ndarray, identity: np.ndarray, kind: int) -> list[list[int]]:
    """Each query's places by comparing every pair of pairs."""
    n = len(identity)
    groups: dict[object, list[int]] = {}
    for j in range(n):
        groups.setdefault(identity[j, kind] if identity[j, kind] >= 0 else ("own", j), []).append(j)
    answers = []
    for i in range(n):
        rows = []
        for members in groups.values():
            relevant = any(
                i == j or any(a == b >= 0 for a, b in zip(identity[i], identity[j], strict=True))
                for j in members
            )
            rows.append((-float(queries[i] @ candidates[members[0]]), relevant))
        answers.append([place for place, (_, hit) in enumerate(sorted(rows), 1) if hit])
    return answers


@pytest.mark.parametrize("of", [2, 8, 1000])
@pytest.mark.parametrize("n", [1, 7, 60])
def test_equal_to_brute_force(n: int, of: int) -> None:
    text, image, identity = vectors(n, 1), vectors(n, 2), identities(n, 3, of)
    for found, queries, candidates, kind in (
        (text_to_picture(text, image, identity), text, image, 1),
        (picture_to_text(image, text, identity), image, text, 2),
    ):
        rows = [np.array(row) for row in brute(queries, candidates, identity, kind)]
        assert list(found) == ["R@1", "R@5", "R@10", "mAP"]
        for k in (1, 5, 10):
            assert found[f"R@{k}"].tolist() == recall_at(rows, k).tolist()
        assert found["mAP"] == pytest.approx(average_precision(rows))


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text, image, identity = vectors(50, 1), vectors(50, 2), identities(50, 3, 20)
    whole = text_to_picture(text, image, identity)
    monkeypatch.setattr(retrieval, "_CHUNK", chunk)
    parts = text_to_picture(text, image, identity)
    for name, values in whole.items():
        assert values == pytest.approx(parts[name])


def test_a_picture_shared_by_many_products_is_one_candidate() -> None:
    """Ten products show one placeholder: it takes one place, not ten, before what is sought."""
    image = np.array([[1, 0.0]] * 10 + [[0.8, 0.6]])
    text = np.array([[1, 0.0]] * 11)
    identity = np.array([[i, 0, i] for i in range(10)] + [[10, 1, 10]])
    found = text_to_picture(text, image, identity, ks=(1, 2))
    assert found["R@1"].tolist() == [1] * 10 + [0]
    assert found["R@2"].tolist() == [1] * 11
    identity[:, 1] = -1  # unknown pictures are all distinct
    assert text_to_picture(text, image, identity, ks=(9,))["R@9"].tolist() == [0] * 11


def test_collapsed_vectors_get_the_worst_figures() -> None:
    same = np.ones((20, 4), np.float32)
    identity = np.full((20, 3), -1)
    found = text_to_picture(same, same, identity)
    assert found["R@10"].sum() == 0
    assert found["mAP"].tolist() == [1 / 20] * 20


def test_a_perfect_model() -> None:
    rows, identity = vectors(30, 1), np.full((30, 3), -1)
    assert all((values == 1).all() for values in text_to_picture(rows, rows, identity).values())


def test_means_by_category() -> None:
    values = {"R@1": np.array([1.0, 0.0, 1.0, 1.0]), "mAP": np.array([1.0, 0.5, 0.25, 0.25])}
    found = means(values, ["Shoes", "Bags", "Shoes", ""])
    assert list(found) == ["all", "", "Bags", "Shoes"]
    assert found["all"] == {"R@1": 0.75, "mAP": 0.5}
    assert found["Shoes"] == {"R@1": 1.0, "mAP": 0.625}
    assert found["Bags"] == {"R@1": 0.0, "mAP": 0.5}


def test_input_that_fits_nowhere_is_refused() -> None:
    rows, identity = vectors(4, 1), np.full((4, 3), -1)
    with pytest.raises(InputError, match=r"\(4, 12\) and \(3, 12\)"):
        text_to_picture(rows, rows[:3], identity)
    with pytest.raises(InputError, match=r"\(4, 2\)"):
        text_to_picture(rows, rows, identity[:, :2])
    with pytest.raises(InputError, match="NaN"):
        text_to_picture(rows * np.nan, rows, identity)
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        places(np.ones((2, 3)), np.ones((2, 2), bool))
    with pytest.raises(InputError, match="2 categories"):
        means({"R@1": np.ones(3)}, ["a", "b"])
    with pytest.raises(InputError, match="0 categories"):
        means({"R@1": np.ones(0)}, [])
    with pytest.raises(InputError, match="'all'"):
        means({"R@1": np.ones(1)}, ["all"])
