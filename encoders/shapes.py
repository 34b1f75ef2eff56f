"""Which inputs go through a tower together.

Numeric libraries choose their kernels by the shape of a batch, and kernels sum in different orders: a title
encoded among 60 others and alone gets vectors that differ in their last bits. In batches of a few fixed
shapes every row's arithmetic is the same, whatever company it is in.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

ROWS = 16
"""Inputs of a fixed batch on a CPU: as fast a row as larger ones there, and few enough to fill up."""
ROWS_GPU = 256
COLUMNS = 8
"""The step that a title's length in tokens is rounded up to."""
_TOGETHER = 64


class Batch(NamedTuple):
    """Inputs that go through a tower together."""

    rows: np.ndarray  # int64: which inputs
    size: int  # rows of the batch
    columns: int  # tokens wide

    @property
    def filling(self) -> np.ndarray:
        """int64 [size]: positions among the inputs, the last one repeated to fill up."""
        return np.minimum(np.arange(self.size), len(self.rows) - 1)


def fixed(lengths: Sequence[int], longest: int, size: int = ROWS) -> Iterator[Batch]:
    """Batches of just `size` rows, each input in one as wide as its own length rounded up.

    `longest`: the widest that the tower takes.
    """
    wide = np.minimum(-(-np.asarray(lengths, np.int64) // COLUMNS) * COLUMNS, longest)
    for columns in np.unique(wide).tolist():
        members = np.flatnonzero(wide == columns)
        for start in range(0, len(members), size):
            yield Batch(members[start : start + size], size, columns)


def free(lengths: Sequence[int], longest: int) -> Iterator[Batch]:
    """Batches of as many inputs as there are, up to 64 of about equal length: nothing fills up."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), _TOGETHER):
        some = order[start : start + _TOGETHER]
        yield Batch(some, len(some), min(lengths[some[-1]], longest))
