"""The live products of an embedding table as fused vectors, the input of an index."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from mmprod.datasets.schemas import ITEM, category_path
from mmprod.datasets.store.store import Store
from mmprod.datasets.vectors import from_column
from mmprod.retrieval.fusion import Weights, fuse, half_width

if TYPE_CHECKING:
    from mmprod.datasets.embeddings.table import EmbeddingTable


class FusedVectors:
    """The embedding table's live products as blocks of fused vectors; can be iterated any number of times.

    Products that have no modality with a weight above 0 are left out, here and in `items`.
    """

    def __init__(self, table: "EmbeddingTable", weights: Weights, form: str = "exact") -> None:
        self.table, self.weights = table, weights
        self._fuse = fuse if form == "exact" else half_width

    def __iter__(self) -> Iterator[np.ndarray]:
        for batch, usable in self._batches():
            image, text = (from_column(batch[name])[0][usable] for name in ("image", "text"))
            yield self._fuse(image, text, self.weights)

    def items(self, store: Store) -> pa.Table:
        """Ids, categories and modalities of the products, schema ITEM, in the order of the vectors."""
        return pa.Table.from_batches([self._items(*part, store) for part in self._batches()], schema=ITEM)

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        for batch in self.table.batches():
            has = [batch[name].is_valid().to_numpy(zero_copy_only=False) for name in ("image", "text")]
            usable = np.zeros(batch.num_rows, bool)
            for weight, present in zip(self.weights, has, strict=True):
                usable |= present & (weight > 0)
            yield batch, usable

    @staticmethod
    def _items(batch: pa.RecordBatch, usable: np.ndarray, store: Store) -> pa.RecordBatch:
        batch = batch.filter(pa.array(usable))
        records = store.get_many(batch["product_id"].to_pylist())
        categories = [category_path(record.category) if record else "" for record in records]
        columns = [batch["product_id"], pa.array(categories, pa.string())]
        columns += [batch["image"].is_valid(), batch["text"].is_valid()]
        return pa.RecordBatch.from_arrays(columns, schema=ITEM)
