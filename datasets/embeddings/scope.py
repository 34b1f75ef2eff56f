"""Restriction of an encoder's embedding table to the products of `encoder.categories`."""

import logging
from collections.abc import Collection, Iterable, Sequence

from mmprod.datasets.categories import near, upwards, within
from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.schemas import category_path
from mmprod.datasets.store.store import Changed, Store
from mmprod.storage.errors import InputError

log = logging.getLogger(__name__)


def in_order(categories: Iterable[str]) -> tuple[str, ...]:
    """Categories without repeats in a canonical order, so that equal sets compare equal."""
    return tuple(sorted(set(categories)))


def follow(wanted: Iterable[str], store: Store, table: EmbeddingTable) -> None:
    """Restart the table if it was made for other categories than `wanted`.

    Logs a warning for each category without products. Raises: InputError, with nothing changed, when no
    category has a product: an empty table is never intended.
    """
    categories = in_order(wanted)
    if categories != table.pointer.categories:
        _check(store, categories)
        table.restrict(categories)


def fitting(changed: Sequence[Changed], store: Store, categories: Collection[str]) -> set[str]:
    """Ids of the changed products that are live and in or below `categories`; if empty, of all live ones."""
    live = [change.product_id for change in changed if change.live]
    if not categories:
        return set(live)
    records = store.get_many(live)
    return {r.product_id for r in records if r and within(category_path(r.category), categories)}


def strays(table: EmbeddingTable, store: Store) -> list[str]:
    """Ids of the table's live rows whose product is not live, or not in the table's categories."""
    categories, found = set(table.pointer.categories), []
    for batch in table.batches():
        ids = batch["product_id"].to_pylist()
        for product_id, record in zip(ids, store.get_many(ids), strict=True):
            path = category_path(record.category) if record and record.live else ""
            if not within(path, categories):
                found.append(product_id)
    return found


def _check(store: Store, categories: Sequence[str]) -> None:
    missing, paths = set(categories), set[str]()
    for record in store.iterate() if categories else ():
        if (path := category_path(record.category)) not in paths:
            paths.add(path)
            missing.difference_update(upwards(path))
        if not missing:
            return
    for category in sorted(missing) if paths else ():
        meant = " or ".join(map(repr, near(category, paths)))
        unknown = f"encoder.categories: no product is in {category!r}; there is {meant}"
        if len(missing) == len(categories):
            raise InputError(f"{unknown}; the embedding table was left as it is")
        log.warning("%s", unknown)
