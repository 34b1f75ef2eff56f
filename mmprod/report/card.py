"""Products as shown in reports."""

from mmprod.datasets.store.store import Store
from mmprod.report.page import Card
from mmprod.stages.products import small_picture

SIDE = 160  # pixels of a picture in a report


def card(store: Store, product_id: str, note: str = "", mark: str = "") -> Card:
    """The card of a product, with its current title and picture."""
    record = store.get(product_id)
    picture = small_picture(store, record.image_hash, SIDE) if record else None
    return Card(product_id, record.title if record else "(not in the store)", picture, note, mark)
