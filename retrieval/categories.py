"""Category filter: the rows of an index in or below a category such as "Home > Lighting"."""

import numpy as np
import pyarrow as pa

from mmprod.datasets.categories import near, within
from mmprod.retrieval.columns import to_numpy
from mmprod.storage.errors import InputError


class Categories:
    """The category path of each row of an index; each distinct path is stored once."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        """column: category paths as in ITEM, "" if unknown."""
        encoded = column.combine_chunks().dictionary_encode()
        self._codes = to_numpy(encoded.indices)
        self._paths: list[str] = encoded.dictionary.to_pylist()

    def path(self, row: int) -> str:
        """Category path of a row."""
        path: str = self._paths[self._codes[row]]
        return path

    def rows(self, category: str) -> np.ndarray:
        """Bool (n,): the rows in or below `category`. InputError, with similar names, if there are none."""
        wanted = [i for i, path in enumerate(self._paths) if within(path, (category,))]
        if not wanted:
            some = " or ".join(map(repr, near(category, self._paths)))
            meant = f"did you mean {some}?" if some else "this index has none"
            raise InputError(f"unknown category {category!r}: {meant}")
        return np.isin(self._codes, wanted)
