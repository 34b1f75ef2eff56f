"""Validation of vectors before indexing or searching: a single NaN corrupts the results of its neighbours."""

from collections.abc import Iterable, Iterator

import numpy as np

from mmprod.storage.errors import InputError

MAX_NORM = 1.01  # fused vectors have norm 1 at most; rounding to float16 gives up to about 1.001


def check_vectors(x: np.ndarray, dim: int | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """Find unusable rows.

    x: float16 or float32 (n, d). A row is usable if it is finite, not all zero and of norm at most 1 (+1 %).
    Returns a bool mask (n,) of the usable rows, and the reason by row number for the others.
    Raises InputError when `x` is not such a matrix or d is not `dim`.
    """
    _require_matrix(x, dim)
    norms = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float32))
    mask = np.isfinite(norms) & (norms > 0) & (norms <= MAX_NORM)
    return mask, {int(row): _reason(x[row], float(norms[row])) for row in np.flatnonzero(~mask)}


def require_vectors(x: np.ndarray, dim: int, first: int = 0) -> np.ndarray:
    """`x` as contiguous float32 (n, dim); InputError naming row `first` + i if row i is unusable."""
    _, reasons = check_vectors(x, dim)
    for row, reason in reasons.items():
        raise InputError(f"vector {first + row} is unusable: {reason} ({len(reasons)} such in this block)")
    return np.ascontiguousarray(x, dtype=np.float32)


class Collector:
    """Gathers rows of a matrix given in blocks, while the blocks are used for something else."""

    def __init__(self, rows: np.ndarray) -> None:
        self._order = np.argsort(rows, kind="stable")
        self._ordered = rows[self._order]
        self._found: list[np.ndarray] = []
        self._seen = 0

    def passing(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks; the rows are complete when all have passed."""
        for block in blocks:
            low, high = np.searchsorted(self._ordered, [self._seen, self._seen + len(block)])
            self._found.append(block[self._ordered[low:high] - self._seen].astype(np.float32))
            self._seen += len(block)
            yield block

    def rows(self) -> np.ndarray:
        """(rows asked for, d) float32, in their order. Raises InputError when the blocks had fewer rows."""
        if len(self._ordered) and self._ordered[-1] >= self._seen:
            raise InputError(f"row {self._ordered[-1]} asked for, the vectors end after {self._seen} rows")
        return np.concatenate(self._found)[np.argsort(self._order, kind="stable")]


def take_rows(blocks: Iterable[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Gather rows of a matrix given in blocks: (len(rows), d) float32, in the order of `rows`."""
    collector = Collector(rows)
    for _ in collector.passing(blocks):
        pass
    return collector.rows()


def _require_matrix(x: np.ndarray, dim: int | None) -> None:
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float16, np.float32):
        raise InputError(f"vectors are {getattr(x, 'dtype', type(x).__name__)}, want float16 or float32")
    if x.ndim != 2 or (dim is not None and x.shape[1] != dim):
        raise InputError(f"vectors of shape {x.shape}, want (n, {'d' if dim is None else dim})")


def _reason(row: np.ndarray, norm: float) -> str:
    if np.isnan(row).any():
        return "NaN"
    if np.isinf(row).any():
        return "inf"
    return "zero" if norm == 0 else f"norm {norm:.3g} is over 1"
