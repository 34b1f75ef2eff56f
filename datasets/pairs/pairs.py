"""The tables of training pairs: candidates from the store, the pairs kept, and what was rejected."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod.datasets.identity import EMPTY
from mmprod.datasets.schemas import category_path
from mmprod.datasets.store.record import Record

TRAIN, HELD_OUT = "train", "held_out"

PAIR = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),  # in normal form
        pa.field("category", pa.string(), nullable=False),  # levels joined by " > ", "" when unknown
        pa.field("image_hash", pa.binary(16), nullable=False),
        pa.field("item", pa.int64(), nullable=False),  # equal for equal spu_id, -1 without one
        pa.field("picture_number", pa.int64(), nullable=False),  # equal for the same picture
        pa.field("title_number", pa.int64(), nullable=False),  # equal for titles equal but for case
        pa.field("sales", pa.int64()),
        pa.field("split", pa.string(), nullable=False),  # TRAIN or HELD_OUT
    ]
)
"""A picture and a title to train on. Rows are sorted by product_id."""

NUMBERS = ("item", "picture_number", "title_number")
"""The identity of a pair: two pairs with one of them equal (and not -1) are never negatives of each other."""

CANDIDATE = pa.schema(
    [
        *(PAIR.field(name) for name in ("product_id", "title", "category", "image_hash", "sales")),
        pa.field("spu_id", pa.string()),
        pa.field("active_day", pa.date32(), nullable=False),  # day of its last update, else last seen
    ]
)
"""A live product with a picture and a title, from the store."""

REJECTED = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # the first that applies
        pa.field("value", pa.float64()),  # the measured value, null for reasons without one
    ]
)
"""A live product that is no training pair, and the reason."""

Sifted = tuple[pa.Table, pa.Table]
"""(rows kept, rows of `REJECTED`): the result of every step of the selection."""

_CHUNK = 10_000


def candidates(records: Iterable[Record]) -> Sifted:
    """Keep products with both picture and title, sorted by id; reasons ``no_picture`` and ``no_title``."""
    records, kept, rejected = iter(records), [], []
    while chunk := list(islice(records, _CHUNK)):
        both = [r for r in chunk if r.title and r.image_hash != EMPTY]
        kept.append(pa.RecordBatch.from_pylist([_candidate(r) for r in both], CANDIDATE))
        rejected.append(pa.RecordBatch.from_pylist(list(_missing(chunk)), REJECTED))
    table = pa.Table.from_batches(kept, CANDIDATE).sort_by("product_id")
    return table, pa.Table.from_batches(rejected, REJECTED)


def _candidate(record: Record) -> dict[str, Any]:
    active = record.updated_at.date() if record.updated_at else record.seen_day
    return {
        "product_id": record.product_id,
        "title": record.title,
        "category": category_path(record.category),
        "image_hash": record.image_hash,
        "sales": record.sales,
        "spu_id": record.spu_id,
        "active_day": active,
    }


def _missing(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        if record.image_hash == EMPTY:
            yield {"product_id": record.product_id, "reason": "no_picture"}
        elif not record.title:
            yield {"product_id": record.product_id, "reason": "no_title"}


def sift(table: pa.Table, bad: np.ndarray, reason: str, values: np.ndarray | None = None) -> Sifted:
    """Reject the rows where `bad` (bool [n]) is true, for `reason`, with their `values` [n]."""
    out = table.filter(pa.array(bad))
    found = pa.nulls(len(out), pa.float64()) if values is None else pa.array(values[bad], pa.float64())
    rejected = [out["product_id"], pa.array([reason] * len(out), pa.string()), found]
    return table.filter(pa.array(~bad)), pa.table(rejected, schema=REJECTED)


def numbered(table: pa.Table) -> pa.Table:
    """Convert `CANDIDATE` rows to `PAIR` rows, all in the split TRAIN until `split` assigns them."""
    titles = pa.array([title.casefold() for title in table["title"].to_pylist()], pa.string())
    columns = {name: table[name] for name in ("product_id", "title", "category", "image_hash", "sales")}
    columns |= {
        "item": numbers(table["spu_id"]),
        "picture_number": numbers(table["image_hash"]),
        "title_number": numbers(titles),
        "split": pa.array([TRAIN] * len(table), pa.string()),
    }
    return pa.table([columns[name] for name in PAIR.names], schema=PAIR)


def numbers(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Number equal values equally: int64 [n], from 0 by first appearance; null becomes -1."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    found: np.ndarray = whole.dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    return found


def identity(pairs: pa.Table) -> np.ndarray:
    """int64 [n, 3]: item, picture and title number of each pair."""
    return np.stack([pairs[name].to_numpy() for name in NUMBERS], axis=1)
