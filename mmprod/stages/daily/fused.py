"""The live products of an embedding table as fused vectors, the input of an index."""

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import ITEM, category_path
from mmprod.datasets.store.store import Store
from mmprod.datasets.vectors import from_column
from mmprod.retrieval.fusion import Weights, fuse, half_width

if TYPE_CHECKING:
    from mmprod.datasets.embeddings.table import EmbeddingTable


_READ = 10_000  # products


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

    def items(self, store: Store, known: pa.Table | None = None) -> pa.Table:
        """Ids, categories and modalities of the products, schema ITEM, in the order of the vectors.

        `known`: items whose categories are right; only those of other products are read from the store.
        """
        has = self.table.modalities()
        counted = [
            name for name, weight in zip(("has_image", "has_text"), self.weights, strict=True) if weight
        ]
        usable = functools.reduce(pc.or_, (has[name] for name in counted))
        has = has.filter(usable)
        categories = _categories(has["product_id"], store, known)
        columns = [has["product_id"], categories, has["has_image"], has["has_text"]]
        return pa.Table.from_arrays(columns, schema=ITEM)

    def modalities_of(self, items: pa.Table) -> pa.Table:
        """`items` with what these products have now: picture, title. All must be live in the table."""
        has = self.table.modalities()
        places = pc.index_in(items["product_id"], has["product_id"])
        for name in ("has_image", "has_text"):
            items = items.set_column(ITEM.get_field_index(name), ITEM.field(name), has[name].take(places))
        return items

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        for batch in self.table.batches():
            has = [batch[name].is_valid().to_numpy(zero_copy_only=False) for name in ("image", "text")]
            usable = np.zeros(batch.num_rows, bool)
            for weight, present in zip(self.weights, has, strict=True):
                usable |= present & (weight > 0)
            yield batch, usable


def _categories(ids: pa.ChunkedArray, store: Store, known: pa.Table | None) -> pa.ChunkedArray:
    if known is None:
        found = pa.chunked_array([pa.nulls(len(ids), pa.string())])
    else:
        found = known["category"].take(pc.index_in(ids, known["product_id"]))
    missing = np.flatnonzero(found.is_null().to_numpy())
    read: list[str] = []
    for start in range(0, len(missing), _READ):
        names = ids.take(pa.array(missing[start : start + _READ])).to_pylist()
        read += [category_path(record.category) if record else "" for record in store.get_many(names)]
    return pc.replace_with_mask(
        found.combine_chunks(), found.is_null().combine_chunks(), pa.array(read, pa.string())
    )


def with_categories(items: pa.Table, product_ids: Sequence[str], store: Store) -> pa.Table:
    """`items` with the present categories of these products, as far as they are among them."""
    places = pc.index_in(pa.array(product_ids, pa.string()), items["product_id"])
    mine = [
        (key, place) for key, place in zip(product_ids, places.to_pylist(), strict=True) if place is not None
    ]
    if not mine:
        return items
    categories = np.array(items["category"].to_pylist(), object)
    for (_, place), record in zip(mine, store.get_many([key for key, _ in mine]), strict=True):
        categories[place] = category_path(record.category) if record else ""
    column = pa.array(categories, pa.string())
    return items.set_column(ITEM.get_field_index("category"), ITEM.field("category"), column)
