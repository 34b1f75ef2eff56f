"""Products as shown in reports."""

from mmprod.datasets.images.images import BadImage, thumbnail
from mmprod.datasets.store.store import Store
from mmprod.report.page import Card

SIDE = 160  # pixels of a picture in a report


def card(store: Store, product_id: str, note: str = "", mark: str = "") -> Card:
    """The card of a product, with its current title and picture."""
    record = store.get(product_id)
    data = store.picture(record.image_hash) if record else None
    try:
        picture = thumbnail(data, SIDE) if data else None
    except BadImage:
        picture = None
    return Card(product_id, record.title if record else "(not in the store)", picture, note, mark)
