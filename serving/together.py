"""Several requests worked on at once, each with its own outcome."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

from mmprod.serving.refused import Refused

Given = TypeVar("Given")
Found = TypeVar("Found")


def together(
    requests: Sequence[Sequence[Given]], work: Callable[[Sequence[Given]], Sequence[Found]]
) -> list[Sequence[Found] | Refused]:
    """What `work` makes of each request's items: of all of them at once where it can be.

    `work` gives one result an item, in their order. Where it refuses, each request is worked on by itself, so
    that one at fault fails alone.
    """
    try:
        found = work([item for request in requests for item in request])
    except Refused as refused:
        return [refused] if len(requests) == 1 else [together([one], work)[0] for one in requests]
    ends = accumulate(map(len, requests), initial=0)
    return [found[start:end] for start, end in pairwise(ends)]
