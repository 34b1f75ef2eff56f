"""Look-up of a product's row by its id, with little memory."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from mmprod.retrieval.columns import to_arrow
from mmprod.storage.errors import InputError, StateError

_BLOCK = 100_000


class Lookup:
    """Rows by product id.

    A look-up is a binary search in the sorted 64-bit hashes of all ids, then a comparison of the ids of the
    few matching rows. It takes 12 bytes a product in addition to the ids.
    """

    def __init__(self, ids: pa.StringArray) -> None:
        """ids: those of rows 0, 1, … Raises: StateError if one is repeated."""
        self._ids = ids
        hashes = np.fromiter(_hashes(ids), np.int64, len(ids))
        order = np.argsort(hashes)
        self._hashes, self._rows = hashes[order], order.astype(np.uint32)
        self._require_distinct()

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """The row of each of m products, int64 (m,). Raises: InputError for the first without a row."""
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        starts, ends = (np.searchsorted(self._hashes, hashes, side).tolist() for side in ("left", "right"))
        return np.fromiter(map(self._row, ids, starts, ends), np.int64, len(ids))

    def _row(self, product_id: str, start: int, end: int) -> int:
        """A product's row; start, end: the range of hashes equal to its own, almost always of length one."""
        for row in self._rows[start:end].tolist():
            if self._ids[row].as_py() == product_id:
                return int(row)
        raise InputError(f"product {product_id!r} is not among the {len(self._ids)} of this index")

    def _require_distinct(self) -> None:
        """Raise StateError for repeated ids: equal ids have equal hashes, which are adjacent when sorted."""
        same = np.zeros(len(self._ids) + 1, bool)
        same[1:-1] = self._hashes[1:] == self._hashes[:-1]
        suspects = self._ids.take(to_arrow(self._rows[same[1:] | same[:-1]])).to_pylist()
        if repeated := len(suspects) - len(set(suspects)):
            count = len(self._ids)
            raise StateError(f"{count} ids, only {count - repeated} of them distinct; build the index again")


def _hashes(ids: pa.StringArray) -> Iterator[int]:
    for start in range(0, len(ids), _BLOCK):
        yield from map(hash, ids.slice(start, _BLOCK).to_pylist())
