"""A product's record: its current data, and their encoding as bytes in the store."""

import datetime
import json
import struct
from dataclasses import dataclass

from mmprod.datasets.identity import day_date
from mmprod.datasets.store.state import State
from mmprod.datasets.volatile import decode_attributes

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SIZES = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Record:
    """A product's current data. Texts are normalised; a missing field is empty or None."""

    product_id: str
    title: str
    category: tuple[str, ...]  # from the widest level to the narrowest
    spu_id: str | None
    brand: str | None
    sales: int | None
    attributes: dict[str, str | None]
    image_path: str | None
    image_url: str | None
    image_reason: str | None  # why there is no picture, although the row named one
    image_hash: bytes  # 16 bytes, zero without a picture
    text_hash: bytes  # 16 bytes, zero without a title
    fields_hash: bytes
    updated_at: datetime.datetime | None  # as delivered
    live: bool
    first_day: datetime.date
    seen_day: datetime.date  # the latest day whose table had it
    content_day: datetime.date  # the day whose delivery is in force
    pictures: tuple[str, ...] = ()  # paths or addresses of further pictures, in their order
    categories: tuple[str, ...] = ()  # further category paths


def moment(microseconds: int | None) -> datetime.datetime | None:
    """The time of so many µs since 1970."""
    return None if microseconds is None else _EPOCH + datetime.timedelta(microseconds=microseconds)


def body(title: str, image_reason: str | None, fields: bytes) -> bytes:
    """Encode what a record holds beyond its state. `fields`: as `canonical_fields` returns them."""
    text, reason = title.encode(), (image_reason or "").encode()
    return _SIZES.pack(len(text), len(reason)) + text + reason + fields


def parts(data: bytes) -> tuple[str, str | None, bytes]:
    """Decode to (title, image reason, canonical fields): the inverse of `body`."""
    text, reason = _SIZES.unpack_from(data)
    start = _SIZES.size
    middle, end = start + text, start + text + reason
    return data[start:middle].decode(), data[middle:end].decode() or None, data[end:]


def image_url(data: bytes) -> str | None:
    """The picture's address, from a record's bytes."""
    url: str | None = json.loads(parts(data)[2])[5]
    return url


def decode(product_id: str, state: State, data: bytes) -> Record:
    """Build the record of a known product from its state and its bytes."""
    title, reason, fields = parts(data)
    category, spu_id, brand, attributes, path, url, *further = json.loads(fields)
    pictures, categories = further or ((), ())
    return Record(
        product_id=product_id,
        title=title,
        category=tuple(category),
        spu_id=spu_id,
        brand=brand,
        sales=state.volatile.sales,
        attributes=dict(sorted((dict(attributes) | decode_attributes(state.volatile.attributes)).items())),
        image_path=path,
        image_url=url,
        image_reason=reason,
        image_hash=state.content.image_hash,
        text_hash=state.content.text_hash,
        fields_hash=state.content.fields_hash,
        updated_at=moment(state.updated_at),
        live=state.live,
        first_day=day_date(state.first_day),
        seen_day=day_date(state.seen_day),
        content_day=day_date(state.content_day),
        pictures=tuple(pictures),
        categories=tuple(categories),
    )
