"""Several rows with one id: versions of a product, or parts of a product that an export writes as rows."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.ingest.delivery import Identities
from mmprod.datasets.schemas import PRODUCT, rows_to_batch
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.datasets.tables.table import ProductTable, TableBatch

Row = dict[str, Any]
_PICTURES = ("image_path", "image_url")


def check_whole(table: "ProductTable", product_ids: Collection[str]) -> None:
    """Raise InputError when a later row of one of these ids lacks a value that an earlier row has."""
    wanted = pa.array(sorted(product_ids), pa.string())
    filled: dict[str, tuple[set[str], str]] = {}
    for batch in table.batches():
        chosen = pc.is_in(batch.accepted.column("product_id"), wanted)
        places = np.flatnonzero(chosen.to_numpy(zero_copy_only=False)).tolist()
        for place, row in zip(places, batch.accepted.filter(chosen).to_pylist(), strict=True):
            if row["deleted"]:
                continue
            now = {name for name, value in row.items() if value not in (None, "", [])}
            before, source = filled.get(row["product_id"], (set(), ""))
            if lost := sorted(before - now):
                raise InputError(
                    f"{batch.sources[place]}: a later row of {row['product_id']!r} has no {', '.join(lost)}, "
                    f"which {source} has; alone, it would erase them. Set table.rows to "
                    '"first_non_empty" if rows of one id are parts of a product (variants, further '
                    'pictures), to "one" if the newest row is the product; nothing was changed'
                )
            filled[row["product_id"]] = now, batch.sources[place]


class CombinedTable:
    """A table whose rows of one id are parts of one product (`TableSpec.rows` "first_non_empty").

    Each cell takes the first non-empty value. Pictures of later rows become further pictures. The product is
    removed if any row says so. The rows of an id should be close together in the file: parts are held in
    memory until the last one is read.
    """

    def __init__(self, table: "ProductTable") -> None:
        self.table = table
        self.rows = table.rows
        self._counts: dict[str, int] | None = None

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint

    def check_repeated(self, product_ids: Collection[str]) -> None:
        """Nothing to check: this table merges repeated rows."""

    def batches(self, batch_rows: int = 10_000) -> Iterator["TableBatch"]:
        """As `ProductTable.batches`, with rows of an id merged into the last; `merged` counts the others."""
        left, parts = dict(self._repeated), dict[str, Row]()
        for batch in self.table.batches(batch_rows):
            yield self._combined(batch, left, parts)

    def identities(self, batch_rows: int = 10_000) -> Iterator[Identities]:
        """As `ProductTable.identities`, in the order of `batches`."""
        left, parts = dict(self._repeated), dict[str, tuple[int | None, bool]]()
        for ids, times, gone in self.table.identities(batch_rows):
            found: list[tuple[str, int | None, bool]] = []
            for place, (product_id, time) in enumerate(zip(ids, times, strict=True)):
                mark = time, gone is not None and bool(gone[place])
                if product_id in left:
                    known = parts.get(product_id, mark)
                    first = mark[0] if known[0] is None else known[0]
                    parts[product_id] = mark = first, known[1] or mark[1]
                    if not _last(product_id, left):
                        continue
                    del parts[product_id]
                found.append((product_id, *mark))
            names, moments, left_out = zip(*found, strict=True) if found else ((), (), ())
            yield Identities(names, moments, None if gone is None else np.array(left_out, bool))

    @property
    def _repeated(self) -> dict[str, int]:
        """Number of rows by id, for ids with several rows."""
        if self._counts is None:
            rows = Counter(name for batch in self.table.identities() for name in batch.ids)
            self._counts = {product_id: count for product_id, count in rows.items() if count > 1}
        return self._counts

    def _combined(self, batch: "TableBatch", left: dict[str, int], parts: dict[str, Row]) -> "TableBatch":
        ids = batch.accepted.column("product_id").to_pylist()
        several = [place for place, product_id in enumerate(ids) if product_id in left]
        if not several:
            return batch
        rows: list[Row] = batch.accepted.to_pylist()
        unfinished = set(several)
        for place in several:
            before = parts.get(ids[place])
            parts[ids[place]] = merged(before, rows[place]) if before else rows[place]
            if _last(ids[place], left):
                rows[place] = parts.pop(ids[place])
                unfinished.remove(place)
        kept = [place for place in range(len(ids)) if place not in unfinished]
        place_of = {place: number for number, place in enumerate(kept)}
        return batch._replace(
            accepted=rows_to_batch((rows[place] for place in kept), PRODUCT),
            sources=[batch.sources[place] for place in kept],
            unread=[(place_of[row], told) for row, told in batch.unread if row in place_of],
            merged=len(ids) - len(kept),
        )


def merged(first: Row, later: Row) -> Row:
    """Merge two rows of a product: missing values of the first are taken from the later one.

    Other pictures and categories of the later row become further ones.
    """
    whole = {name: later[name] if value in (None, "", []) else value for name, value in first.items()}
    shown = {whole[name] for name in _PICTURES}
    places = [later[name] for name in _PICTURES if later[name]]
    further = [*(first["pictures"] or ()), *places, *(later["pictures"] or ())]
    whole["pictures"] = [place for place in dict.fromkeys(further) if place not in shown] or None
    paths = [*(first["categories"] or ()), *_path(later["category"]), *(later["categories"] or ())]
    own = _path(whole["category"])
    whole["categories"] = [path for path in dict.fromkeys(paths) if path not in own] or None
    whole["deleted"] = bool(first["deleted"]) or bool(later["deleted"])
    return whole


def _path(levels: list[str] | None) -> list[str]:
    return [" > ".join(levels)] if levels else []


def _last(product_id: str, left: dict[str, int]) -> bool:
    """Whether this was the last row of the id."""
    left[product_id] -= 1
    return left[product_id] == 0
