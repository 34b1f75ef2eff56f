"""Fusion: the inner product of fused vectors is the weighted sum of cosines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.retrieval.fusion import check_weights, fuse, fuse_query, half_width
from mmprod.storage.errors import InputError


def unit(rng: np.random.Generator, n: int, d: int = 64) -> np.ndarray:
    vectors = rng.normal(size=(n, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_scores_are_the_weighted_sum_of_cosines_in_float16(seed: int, weight: float) -> None:
    rng = np.random.default_rng(seed)
    image, text = unit(rng, 8), unit(rng, 8)
    fused = fuse(image.astype(np.float16), text.astype(np.float16), (weight, 1 - weight)).astype(np.float16)
    scores = fused.astype(np.float64) @ fused.T.astype(np.float64)
    want = weight * image @ image.T + (1 - weight) * text @ text.T
    assert np.abs(scores - want).max() < 2e-3 if weight in (0, 1) else np.abs(scores - want).max() < 1e-3


def test_a_query_asks_both_halves() -> None:
    rng = np.random.default_rng(0)
    image, text, query = unit(rng, 5), unit(rng, 5), unit(rng, 2)
    scores = fuse_query(query, (0.7, 0.3), 128) @ fuse(image, text, (0.7, 0.3)).T
    np.testing.assert_allclose(scores, 0.7 * query @ image.T + 0.3 * query @ text.T, atol=1e-6)


def test_a_query_of_one_width_is_asked_as_it_is() -> None:
    query = unit(np.random.default_rng(0), 2)
    np.testing.assert_allclose(fuse_query(query, (0.7, 0.3), 64), query, atol=1e-6)
    np.testing.assert_allclose(fuse_query(query, (1, 0), 64), fuse(query, query, (1, 0)), atol=1e-6)


def test_hand_computed() -> None:
    image, text = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
    np.testing.assert_allclose(fuse(image, text, (0.64, 0.36)), [[0.8, 0, 0.36, 0.48]], atol=1e-6)


def test_weight_zero_leaves_the_half_out_and_a_missing_one_gives_no_credit() -> None:
    rng = np.random.default_rng(1)
    image, text = unit(rng, 3), unit(rng, 3)
    assert fuse(image, text, (1, 0)).shape == (3, 64)
    text[1] = 0
    scores = fuse(image, text, (0.5, 0.5)) @ fuse(image, text, (0.5, 0.5)).T
    assert scores[1, 1] == pytest.approx(0.5, abs=1e-6)
    assert scores[0, 1] == pytest.approx(0.5 * image[0] @ image[1], abs=1e-6)


def test_half_width_has_unit_rows_and_keeps_zero_rows() -> None:
    rng = np.random.default_rng(2)
    image, text = unit(rng, 3), unit(rng, 3)
    image[2] = text[2] = 0
    mixed = half_width(image, text, (0.7, 0.3))
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    "weights", [(0.5, 0.6), (-0.1, 1.1), (float("nan"), 1.0), (0.0, 0.0), (float("inf"), 0.0)]
)
def test_bad_weights_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="sum to 1"):
        check_weights(weights)


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        fuse(np.ones((2, 3)), np.ones((2, 4)), (0.5, 0.5))
