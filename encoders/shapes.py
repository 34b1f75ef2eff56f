"""Grouping of inputs into batches.

Numeric libraries choose their kernels by the shape of a batch, and kernels sum in different orders. So the
vectors of a title encoded alone and among 60 others differ in their last bits. In batches of a few fixed
shapes, the arithmetic of a row does not depend on the other rows.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

ROWS = 16
"""Rows of a fixed batch on a CPU: as fast per row as larger batches there, and with little padding."""
ROWS_GPU = 256
COLUMNS = 4
"""Titles are padded to a multiple of this many tokens; of 2 to 8, and of 16 to 64 rows, the fastest."""
_BATCH = 64


class Batch(NamedTuple):
    """One batch: which inputs it holds, and its shape."""

    rows: np.ndarray  # int64: indices of the inputs
    size: int  # rows of the batch, at least the number of inputs
    columns: int  # tokens of each row

    @property
    def filling(self) -> np.ndarray:
        """int64 [size]: for each row of the batch a position in `rows`; the last one fills up the batch."""
        return np.minimum(np.arange(self.size), len(self.rows) - 1)


def fixed(lengths: Sequence[int], longest: int, size: int = ROWS) -> Iterator[Batch]:
    """Batches of exactly `size` rows; their width is the inputs' length rounded up to a multiple of COLUMNS.

    `longest`: the largest width that the tower accepts.
    """
    wide = np.minimum(-(-np.asarray(lengths, np.int64) // COLUMNS) * COLUMNS, longest)
    for columns in np.unique(wide).tolist():
        members = np.flatnonzero(wide == columns)
        for start in range(0, len(members), size):
            yield Batch(members[start : start + size], size, columns)


def free(lengths: Sequence[int], longest: int) -> Iterator[Batch]:
    """Batches of up to 64 inputs of about equal length, without padding rows."""
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), _BATCH):
        some = order[start : start + _BATCH]
        yield Batch(some, len(some), min(lengths[some[-1]], longest))
