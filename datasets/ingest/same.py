"""The rows of a batch whose lasting content is what the store has, found and merged by column.

On most days these are nearly all rows. Only the others are converted and merged one by one (`merge`).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.ingest.digests import RowDigests, row_digests
from mmprod.datasets.ingest.merge import Day
from mmprod.datasets.store import state_columns
from mmprod.datasets.store.shard import Rewrite, Shard
from mmprod.datasets.store.state import ABSENT
from mmprod.datasets.store.state_columns import Delivery
from mmprod.datasets.volatile import canonical_attributes

Indices = npt.NDArray[np.int64]


class Columns(NamedTuple):
    """A batch's rows by column: what decides on equality, and what an equal row may still change."""

    batch: pa.RecordBatch  # schema PRODUCT
    digests: RowDigests
    updated_at: npt.NDArray[np.int64]  # µs since 1970, ABSENT for none
    sales: npt.NDArray[np.int64]
    complete: npt.NDArray[np.bool_]  # not a removal, and its picture need not be read or fetched
    by_url: npt.NDArray[np.bool_]  # the picture lies at an address: complete if the store has one
    elsewhere: npt.NDArray[np.bool_]  # the picture lies at a path or an address

    @classmethod
    def of(cls, batch: pa.RecordBatch, volatile: Collection[str]) -> "Columns":
        """The columns of a batch; `volatile` names the volatile attributes."""
        image = batch.column("image").is_valid().to_numpy(zero_copy_only=False)
        path, url = (_filled(batch.column(name)) for name in ("image_path", "image_url"))
        removed = batch.column("deleted").fill_null(False).to_numpy(zero_copy_only=False)
        return cls(
            batch,
            row_digests(batch, volatile),
            batch.column("updated_at").cast(pa.int64()).fill_null(ABSENT).to_numpy(),
            batch.column("sales").fill_null(ABSENT).to_numpy(),
            ~removed & (image | ~path),
            ~image & ~path & url,
            ~image & (path | url),
        )


def _filled(column: pa.Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.greater(pc.binary_length(column), 0).fill_null(False).to_numpy(False)
    return found


def merge_same(
    shard: Shard,
    day: Day,
    columns: Columns,
    rows: Indices,
    keys: Sequence[bytes],
    tally: Counter[str],
) -> tuple[list[Rewrite], Indices]:
    """Merge those of `rows` (places in the batch; `keys`: their ids, sorted) that equal what is in force.

    Returns the states to be written, and the places of the other rows. Counts what it merged in `tally`.
    """
    raw, latest = shard.read(lambda view: (view.raw("states", keys), view.full_day))
    if not raw:
        return [], rows
    known = np.fromiter((key in raw for key in keys), bool, len(keys))
    found, stored_keys = rows[known], [key for key in keys if key in raw]
    stored = state_columns.read(stored_keys, [raw[key] for key in stored_keys])
    same = (stored.fixed["lasting"] == columns.digests.lasting[found]) & stored.live & columns.complete[found]
    same &= ~columns.by_url[found] | stored.has_picture
    delivery = Delivery(columns.updated_at[found], columns.sales[found], columns.digests.volatile[found])
    merged = state_columns.merge(stored, delivery, day.number, latest, day.full_day(latest))
    same &= ~(merged.older & merged.changed)  # stale, which is listed
    changed = int((same & merged.changed).sum())
    tally.update(volatile=changed, unchanged=int(same.sum()) - changed)
    written = np.flatnonzero(same & merged.written)
    rewrites = _rewrites(stored_keys, stored.values, merged, written, columns, found)
    rest = np.concatenate([rows[~known], found[~same]])
    return rewrites, np.sort(rest)


def _rewrites(
    keys: Sequence[bytes],
    values: Sequence[bytes],
    merged: state_columns.Merged,
    written: Indices,
    columns: Columns,
    places: Indices,
) -> list[Rewrite]:
    if not len(written):
        return []
    chosen = [keys[i] for i in written.tolist()]
    before = [values[i] for i in written.tolist()]
    tails = [state_columns.attributes_of(value) for value in before]
    moved = np.flatnonzero((merged.changed & ~merged.older)[written])
    attributes = columns.digests.attributes.take(pa.array(places[written[moved]]))
    if any(tails) or attributes.null_count < len(attributes):
        for place, pairs in zip(moved.tolist(), attributes.to_pylist(), strict=True):
            tails[place] = canonical_attributes(pairs or ())
    after = state_columns.seal_all(chosen, merged.after[written], tails)
    return list(map(Rewrite, chosen, before, after))
