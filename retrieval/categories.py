"""Category filter: which rows lie under "Home" or "Home > Lighting"."""

from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from mmprod.datasets.errors import InputError

_BOUNDARY = " > "


class Categories:
    """The category paths of an index, one a row, each kept once."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        """column: category paths as in ITEM, "" where unknown."""
        encoded = column.combine_chunks().dictionary_encode()
        self._codes = encoded.indices.to_numpy(zero_copy_only=False)
        self._paths: list[str] = encoded.dictionary.to_pylist()

    def path(self, row: int) -> str:
        """Category path of a row."""
        path: str = self._paths[self._codes[row]]
        return path

    def rows(self, category: str) -> np.ndarray:
        """Bool (n,): rows of `category` or of a category below it. InputError, with close names, if none."""
        wanted = [i for i, path in enumerate(self._paths) if category and _below(path, category)]
        if not wanted:
            raise InputError(f"unknown category {category!r}{self._close(category)}")
        return np.isin(self._codes, wanted)

    def _close(self, category: str) -> str:
        names = {prefix.lower(): prefix for path in self._paths for prefix in _prefixes(path)}
        close = get_close_matches(category.lower(), names, n=3, cutoff=0.5)
        some = [names[name] for name in close] or sorted(names.values())[:3]
        return f": did you mean {' or '.join(map(repr, some))}?" if some else ": this index has none"


def _below(path: str, category: str) -> bool:
    return path == category or path.startswith(category + _BOUNDARY)


def _prefixes(path: str) -> list[str]:
    levels = path.split(_BOUNDARY) if path else []
    return [_BOUNDARY.join(levels[: i + 1]) for i in range(len(levels))]
