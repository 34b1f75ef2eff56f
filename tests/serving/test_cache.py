"""The vector cache: its vectors are those of the encoder, and never more than fit."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.serving.cache import VectorCache

WIDTH, ENTRY = 4, 4 * 4 + 400


class Counting:
    """An encoder that counts what it is asked for: the bytes' sums."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def __call__(self, items: Sequence[bytes]) -> np.ndarray:
        self.asked += items
        if b"bad" in items:
            raise ValueError("bad")
        return np.array([[sum(item), len(item), 0, 1] for item in items], np.float32)


@given(
    st.lists(st.lists(st.binary(max_size=1), max_size=5), max_size=20),
    st.integers(0, 4),
)
def test_answers_are_those_of_the_encoder(batches: list[list[bytes]], room: int) -> None:
    encoder = Counting()
    cache = VectorCache(encoder, WIDTH, room * ENTRY)
    for batch in batches:
        before = len(encoder.asked)
        found, encoded = cache.vectors(batch)
        assert [vector.tolist() for vector in found] == [[sum(one), len(one), 0, 1] for one in batch]
        assert encoded == len(encoder.asked) - before <= len(set(batch))
        assert len(cache) <= room


def test_what_was_asked_for_longest_ago_leaves_first() -> None:
    encoder = Counting()
    cache = VectorCache(encoder, WIDTH, 2 * ENTRY)
    for item in (b"a", b"b", b"a", b"c", b"a", b"b"):
        cache.vectors([item])
    assert encoder.asked == [b"a", b"b", b"c", b"b"]


def test_what_comes_twice_in_a_batch_is_encoded_once() -> None:
    encoder = Counting()
    assert VectorCache(encoder, WIDTH, 0).vectors([b"a", b"b", b"a"])[1] == 2
    assert encoder.asked == [b"a", b"b"]


def test_of_a_batch_that_fails_nothing_is_kept() -> None:
    encoder = Counting()
    cache = VectorCache(encoder, WIDTH, 9 * ENTRY)
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            cache.vectors([b"a", b"bad"])
    assert not len(cache) and encoder.asked == [b"a", b"bad"] * 2


def test_a_vector_kept_does_not_keep_its_batch() -> None:
    found, _ = VectorCache(Counting(), WIDTH, 9 * ENTRY).vectors([b"a", b"b"])
    assert all(vector.base is None for vector in found)
