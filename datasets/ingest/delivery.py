"""The interface of a day's table for ingest: usable rows, refused rows, and the source of each."""

import datetime
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmprod.datasets.identity import MAX_KEY, canonical_fields
from mmprod.datasets.text import normalise_title


class RefusedRow(Protocol):
    """A row that can't be used; `product_id` is None where it has none."""

    @property
    def source(self) -> str: ...
    @property
    def product_id(self) -> str | None: ...
    @property
    def reason(self) -> str: ...


class DeliveredBatch(Protocol):
    """A batch of rows. `accepted`: schema `PRODUCT`, ids of 1 to 511 bytes; ``sources[i]``: file:row."""

    @property
    def accepted(self) -> pa.RecordBatch: ...
    @property
    def sources(self) -> Sequence[str]: ...
    @property
    def refused(self) -> Sequence[RefusedRow]: ...
    @property
    def unread(self) -> Sequence[tuple[int, str]]: ...
    @property
    def plain_ids(self) -> int: ...
    @property
    def merged(self) -> int: ...


class Identities(NamedTuple):
    """The ids of some rows and their `updated_at` (µs since 1970, UTC; None if missing).

    `gone`, bool [n], marks rows that the `table.live` setting (`mapping.Live`) marks as removed; None: none.
    """

    ids: Sequence[str]
    times: Sequence[int | None]
    gone: npt.NDArray[np.bool_] | None = None


class DeliveredTable(Protocol):
    """A table that can be read repeatedly; `identities` covers the rows that `batches` accepts, in order.

    `check_repeated` gets the ids that occur in several rows; it raises InputError if that is not allowed.
    """

    @property
    def fingerprint(self) -> str: ...
    def batches(self, batch_rows: int) -> Iterable[DeliveredBatch]: ...
    def identities(self, batch_rows: int) -> Iterable[Identities]: ...
    def check_repeated(self, product_ids: Collection[str]) -> None: ...


class Row(NamedTuple):
    """A usable row, in normal form."""

    key: bytes  # product id
    place: int  # number among the table's usable rows, from 0
    source: str
    updated_at: int | None  # µs since 1970
    deleted: bool
    title: str
    fields: bytes  # canonical
    image: bytes | None
    image_path: str | None
    image_url: str | None


def rows(batch: DeliveredBatch, start: int) -> Iterator[Row]:
    """The usable rows of a batch, numbered from `start`."""
    table = batch.accepted
    names = (
        *("category", "spu_id", "brand", "sales", "attributes", "image_path", "image_url"),
        *("pictures", "categories"),
    )
    fields = zip(*(table.column(name).to_pylist() for name in names), strict=True)
    columns = (table.column(name).to_pylist() for name in ("product_id", "title", "image", "deleted"))
    updated = table.column("updated_at").cast(pa.int64()).to_pylist()
    for place, (product_id, title, image, deleted, moment, source, others) in enumerate(
        zip(*columns, updated, batch.sources, fields, strict=True), start
    ):
        yield Row(
            key=product_id.encode(),
            place=place,
            source=source,
            updated_at=moment,
            deleted=bool(deleted),
            title=normalise_title(title),
            fields=canonical_fields(*others),
            image=image,
            image_path=others[5] or None,
            image_url=others[6] or None,
        )


def refused_keys(refused: Iterable[RefusedRow]) -> list[bytes]:
    """Ids of the refused rows, where they are valid product ids."""
    found = {row.product_id.encode(errors="replace") for row in refused if row.product_id}
    return [key for key in found if len(key) <= MAX_KEY]


def moment_text(microseconds: int) -> str:
    """A time as text for messages."""
    epoch = datetime.datetime(1970, 1, 1)
    return (epoch + datetime.timedelta(microseconds=microseconds)).isoformat() + "Z"
