"""Volatile fields: what changes nearly every night and no encoder sees, such as sales, price and stock.

They are kept in a product's state, apart from its record (`mmprod.datasets.store.state`).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import orjson

NAMES = ("availability", "inventory", "price", "quantity", "rank", "sale_price", "stock")
"""The attributes that are volatile unless `store.volatile` names others; sales always are."""


class Volatile(NamedTuple):
    """A product's volatile fields: sales, and the attributes as `canonical_attributes` encodes them."""

    sales: int | None = None
    attributes: bytes = b""


NOTHING = Volatile()

Attributes = Iterable[tuple[str, str | None]] | Mapping[str, str | None]


def canonical_attributes(attributes: Attributes) -> bytes:
    """Volatile attributes as a JSON array of pairs, sorted by name; b"" for none."""
    return orjson.dumps(sorted(dict(attributes).items())) if attributes else b""


def split(attributes: Attributes | None, names: Collection[str]) -> tuple[dict[str, str | None], bytes]:
    """The lasting attributes, and the volatile ones (those in `names`) in canonical form."""
    if not attributes:
        return {}, b""
    lasting = dict(attributes)
    volatile = [(name, lasting.pop(name)) for name in names if name in lasting]
    return lasting, canonical_attributes(volatile)


def decode_attributes(canonical: bytes) -> dict[str, str | None]:
    """The inverse of `canonical_attributes`."""
    return dict(orjson.loads(canonical)) if canonical else {}
