"""Requests processed as one batch: each gets the result that it would get alone."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mmprod.serving.batching import batched
from mmprod.serving.errors import Refused


def double(items: Sequence[int]) -> list[int]:
    if any(item < 0 for item in items):
        raise Refused("bad_k", f"{min(items)} is negative")
    return [2 * item for item in items]


@given(st.lists(st.lists(st.integers(-1, 20), max_size=4), max_size=8))
def test_each_request_fails_or_succeeds_by_itself(requests: list[list[int]]) -> None:
    for request, found in zip(requests, batched(requests, double), strict=True):
        if min(request, default=0) < 0:
            assert isinstance(found, Refused) and found.code == "bad_k"
        else:
            assert found == double(request)


def test_valid_requests_are_processed_in_one_call() -> None:
    calls = []

    def count(items: Sequence[int]) -> Sequence[int]:
        calls.append(len(items))
        return items

    batched([[1, 2], [], [3]], count)
    assert calls == [3]
