"""Products of the store for whoever shows or tries some of them: a fixed sample, and small pictures."""

import heapq
from hashlib import blake2b

from mmprod.datasets.images.images import BadImage, thumbnail
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.store import Store


def sample_of(store: Store, number: int) -> list[Record]:
    """So many live products, always the same ones: those of the smallest hashes of their ids."""
    ids = heapq.nsmallest(number, store.live_ids(), key=_hash)
    return [record for record in store.get_many(ids) if record]


def small_picture(store: Store, image_hash: bytes, side: int) -> bytes | None:
    """A picture as a JPEG of at most `side` x `side` pixels; None without one that can be decoded."""
    data = store.picture(image_hash)
    try:
        return thumbnail(data, side) if data else None
    except BadImage:
        return None


def _hash(product_id: str) -> bytes:
    return blake2b(product_id.encode(), digest_size=8).digest()
