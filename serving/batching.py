"""Several requests processed as one batch, each with its own outcome."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

from mmprod.serving.errors import Refused

Item = TypeVar("Item")
Result = TypeVar("Result")


def batched(
    requests: Sequence[Sequence[Item]], process: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[Sequence[Result] | Refused]:
    """The results of each request's items, or why the request was refused.

    `process` returns one result per item, in order. It is called once with the items of all requests; if it
    raises Refused, it is called for each request separately, so that a bad request fails alone.
    """
    try:
        results = process([item for request in requests for item in request])
    except Refused as refused:
        return [refused] if len(requests) == 1 else [batched([one], process)[0] for one in requests]
    ends = accumulate(map(len, requests), initial=0)
    return [results[start:end] for start, end in pairwise(ends)]
