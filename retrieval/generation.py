"""An opened index generation: search, look-up of products, and component scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from mmprod.retrieval import approximate, folder
from mmprod.retrieval.categories import Categories
from mmprod.retrieval.columns import to_arrow, to_numpy
from mmprod.retrieval.components import component_scores, spans
from mmprod.retrieval.folder import Build
from mmprod.retrieval.ids import Lookup
from mmprod.retrieval.vectors import require_vectors
from mmprod.storage.errors import InputError, StateError

if TYPE_CHECKING:
    import faiss

MAX_K = 10_000


@dataclass(frozen=True)
class Hits:
    """The results of q queries, best first; every query has the same number c of results."""

    ids: list[list[str]]  # (q, c) product ids
    scores: np.ndarray  # float32 (q, c), inner products
    rows: np.ndarray  # int64 (q, c), rows of the generation


class Generation:
    """An index with its products, read once and immutable.

    After the first search, forked child processes hang, because Faiss has started threads. Start workers with
    "spawn" and open the generation in each.
    """

    def __init__(self, index: "faiss.Index", items: pa.Table, build: Build) -> None:
        """Takes consistent parts; use `open`, which reads and checks them."""
        self.index = index
        self.build = build
        self.ids: pa.Array = items["product_id"].combine_chunks()
        self._lookup = Lookup(self.ids)
        self._categories = Categories(items["category"])
        self._has_image = to_numpy(items["has_image"].combine_chunks())
        self._has_text = to_numpy(items["has_text"].combine_chunks())

    @classmethod
    def open(cls, path: Path, sha256: Mapping[str, str] | None = None) -> Self:
        """Open a generation's folder (index.faiss, items.parquet, build.json).

        sha256: the expected hashes by file name, from the manifest. Without them, flipped bytes in the index
        are not detected. Raises StateError, with both values, when a file is damaged or belongs to another
        generation than the others.
        """
        return cls(*folder.load(path, sha256 or {}))

    def __len__(self) -> int:
        return self.build.count

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        encoder: str,
        nprobe: int | None = None,
        category: str | None = None,
        exclude_rows: np.ndarray | None = None,
    ) -> Hits:
        """The k products with the largest inner product; fewer if fewer than k qualify.

        queries: float16 or float32 (q, dim), fused with this generation's weights, norm ≤ 1; encoder: the
        fingerprint of the encoder that made them; nprobe: number of lists searched, if not the default;
        category: only products in or below this path ("Home", "Home > Lighting"); exclude_rows: rows that are
        never returned. Equal scores are ordered by row number.
        Raises StateError for another encoder; InputError for k outside 1 … 10,000, nprobe over the number of
        lists, an unusable query vector or an unknown category.
        """
        if encoder != self.build.encoder:
            raise StateError(
                f"query of encoder {encoder}, index of encoder {self.build.encoder}: "
                "encode the query with the index's encoder or build the index again"
            )
        if not 1 <= k <= MAX_K:
            raise InputError(f"k is {k}, want 1 to {MAX_K}")
        queries = require_vectors(queries, self.build.dim)
        lists = self.build.nprobe if nprobe is None else nprobe
        allowed = self._allowed(category, exclude_rows)
        scores, rows = approximate.search(self.index, queries, k, lists, allowed)
        return Hits([self.ids_of(row) for row in rows], scores, rows)

    def ids_of(self, rows: np.ndarray) -> list[str]:
        """Product ids of rows, int64 (m,)."""
        ids: list[str] = self.ids.take(to_arrow(rows)).to_pylist()
        return ids

    def row_of(self, product_id: str) -> int:
        """The row of a product; InputError when it is not in this generation."""
        return int(self.rows_of([product_id])[0])

    def rows_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """The rows of m products, int64 (m,); InputError for the first that is not in this generation."""
        return self._lookup.rows(product_ids)

    def category_of(self, row: int) -> str:
        """Category path of a row, "" if unknown."""
        return self._categories.path(row)

    def vector(self, product_id: str) -> np.ndarray:
        """Fused vector of a product, float32 (dim,); InputError for an unknown one."""
        fused: np.ndarray = self.vectors(np.array([self.row_of(product_id)]))[0]
        return fused

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Fused vectors of rows, float32 (m, dim), as stored in the index; a missing half is exactly 0."""
        found: np.ndarray = self.index.reconstruct_batch(np.ascontiguousarray(rows, dtype=np.int64))
        image, text = spans(self.build.weights, self.build.width, self.build.dim)
        for span, has in ((image, self._has_image), (text, self._has_text)):
            if span is not None:
                found[~has[rows], span] = 0  # a lossy index returns only approximately 0
        return found

    def component_scores(self, queries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image and text score of each query (q, dim) with each of its hits, rows (q, c).

        Returns two float32 (q, c), NaN if either side lacks the modality or its weight is 0; all NaN for
        half-width vectors, which can't be separated. See `components.component_scores`.
        """
        image, text = (np.empty(rows.shape, np.float32) for _ in range(2))
        step = max(1, 2**24 // max(1, rows.shape[1] * self.build.dim))  # 64 MB of vectors at a time
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            hits = self.vectors(rows[part].ravel()).reshape(*rows[part].shape, self.build.dim)
            scores = component_scores(queries[part, None], hits, self.build.weights, self.build.width)
            image[part], text[part] = scores
        return image, text

    def _allowed(self, category: str | None, exclude_rows: np.ndarray | None) -> np.ndarray | None:
        if category is None and exclude_rows is None:
            return None
        allowed = np.ones(len(self), bool) if category is None else self._categories.rows(category)
        if exclude_rows is not None:
            allowed[exclude_rows] = False
        return allowed
