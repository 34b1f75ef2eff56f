"""The position of an embedding table in a store that was resharded, and so has numbered its changes anew."""

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import StateError


def follow(store: Store, table: EmbeddingTable) -> bool:
    """Carry the table's position over into the store's numbering of its changes; the caller holds the lake's
    lock. Returns whether the table has to look at all products again; what it has encoded stays.

    It need not if it was up to date when the store was resharded. Raises: StateError when the table follows a
    later numbering: the store was resharded after it was opened here, or is an old copy.
    """
    pointer, numbering = table.pointer, store.numbering
    if pointer.numbering == numbering.number:
        return False
    if pointer.numbering > numbering.number:
        raise StateError(
            f"{table.root} follows numbering {pointer.numbering} of the store's changes, {store.path} has "
            f"{numbering.number} as it was opened: run again if it was resharded meanwhile; if an earlier "
            f"copy replaced it, remove {table.root}"
        )
    (head, field_head), (new_head, new_field_head) = numbering.before, numbering.since
    fields_read = pointer.field_position == field_head
    up_to_date = pointer.numbering == numbering.number - 1 and pointer.position == head
    if up_to_date and (fields_read or not pointer.categories):
        table.renumber(numbering.number, new_head, new_field_head if fields_read else ())
        return False
    table.renumber(numbering.number, (0,) * len(store.shards), ())
    return True
