import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.retrieval import exact
from mmprod.storage.errors import InputError


def oracle(queries: np.ndarray, base: np.ndarray, k: int, exclude: set[int]) -> list[list[tuple[float, int]]]:
    """Sort everything, in plain Python."""
    answers = []
    for query in queries.tolist():
        scored = [
            (sum(a * b for a, b in zip(query, vector, strict=True)), row)
            for row, vector in enumerate(base.tolist())
            if row not in exclude
        ]
        answers.append(sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k])
    return answers


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(0, 40),
    st.integers(1, 50),
    st.sets(st.integers(0, 39), max_size=5),
)
def test_equals_sorting_everything(seed: int, q: int, n: int, k: int, exclude: set[int]) -> None:
    rng = np.random.default_rng(seed)  # few distinct values: many equal scores, and zeros of both signs
    queries, base = (rng.integers(-2, 3, (size, 3)).astype(np.float32) / 4 for size in (q, n))
    scores, rows = exact.search(queries, base, k, np.array(sorted(exclude), np.int64))
    expected = oracle(queries, base, k, exclude)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    assert rows.tolist() == [[row for _, row in answer] for answer in expected]
    assert scores.tolist() == [[score for score, _ in answer] for answer in expected]


def test_equal_vectors_keep_row_order_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    base = np.tile(rng.standard_normal((7, 33)).astype(np.float32), (60, 1))
    queries = rng.standard_normal((50, 33)).astype(np.float32)
    whole = exact.search(queries, base, 100)
    monkeypatch.setattr(exact, "BASE_BLOCK", 13)
    monkeypatch.setattr(exact, "QUERY_BLOCK", 7)
    pieces = exact.search(queries, base, 100)
    blocks = exact.search_blocks(queries, np.split(base, [1, 100, 100, 401]), 100)
    for scores, rows in (pieces, blocks):
        assert np.array_equal(rows, whole[1])
        assert np.array_equal(scores, whole[0])
    assert (np.diff(whole[1][:, :60], axis=1) == 7).all()  # the 60 copies of the best, in row order


def test_scores_that_underflow_to_either_zero_are_equal() -> None:
    base = np.array([[-1e-30], [1e-30]], np.float32)
    assert exact.search(np.array([[1e-30]], np.float32), base, 2)[1].tolist() == [[0, 1]]


def test_empty_sides_and_huge_k() -> None:
    some, none = np.ones((3, 2), np.float32), np.empty((0, 2), np.float32)
    assert exact.search(some, none, 10**9)[1].shape == (3, 0)
    assert exact.search(none, some, 10**9)[1].shape[0] == 0
    assert exact.search(some, some, 10**9)[1].tolist() == [[0, 1, 2]] * 3


def test_bad_requests() -> None:
    x = np.ones((3, 2), np.float32)
    with pytest.raises(InputError, match="k is 0"):
        exact.search(x, x, 0)
    with pytest.raises(InputError, match="dimension 2, base of dimension 3"):
        exact.search(x, np.ones((3, 3), np.float32), 1)
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="NaN or inf"):
            exact.search(x, np.full((3, 2), bad, np.float32), 1)
