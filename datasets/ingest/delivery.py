"""The interface of a day's table for ingest: usable rows, refused rows, and the source of each."""

import datetime
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmprod.datasets.identity import MAX_KEY, canonical_fields
from mmprod.datasets.ingest.digests import RowDigests
from mmprod.datasets.store.state import Digests
from mmprod.datasets.text import normalise_title
from mmprod.datasets.volatile import Volatile, split


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
    fields: bytes  # lasting ones, canonical
    volatile: Volatile
    digests: Digests
    image: bytes | None
    image_path: str | None
    image_url: str | None


class Chosen(NamedTuple):
    """Some rows of a batch: schema PRODUCT, with the number of each among the table's usable rows, its source
    and its digests."""

    table: pa.RecordBatch
    places: list[int]
    sources: list[str]
    lasting: list[int]
    volatile: list[int]


def choose(batch: DeliveredBatch, rows: npt.NDArray[np.int64], start: int, digests: RowDigests) -> Chosen:
    """The `rows` (places in the batch) of a batch whose first row is number `start` of the table."""
    sources, places = batch.sources, rows.tolist()
    return Chosen(
        batch.accepted.take(pa.array(rows)),
        (rows + start).tolist(),
        [sources[place] for place in places],
        digests.lasting[rows].tolist(),
        digests.volatile[rows].tolist(),
    )


def rows(chosen: Chosen, names: Collection[str]) -> list[Row]:
    """Rows in normal form; `names`: the volatile attributes."""
    found = []
    columns = [chosen.table.column(name).to_pylist() for name in _COLUMNS]
    updated = chosen.table.column("updated_at").cast(pa.int64()).to_pylist()
    for place, source, lasting, volatile, moment, *row in zip(*chosen[1:], updated, *columns, strict=True):
        product_id, title, image, deleted, sales, attributes, category, spu_id, brand, *others = row
        kept, moving = split(attributes, names)
        fields = canonical_fields(category, spu_id, brand, kept, *others)
        path, url = others[:2]
        found.append(
            Row(
                *(product_id.encode(), place, source, moment, bool(deleted), normalise_title(title), fields),
                *(Volatile(sales, moving), Digests(lasting, volatile), image, path or None, url or None),
            )
        )
    return found


_COLUMNS = (
    *("product_id", "title", "image", "deleted", "sales", "attributes", "category", "spu_id", "brand"),
    *("image_path", "image_url", "pictures", "categories"),
)


def refused_keys(refused: Iterable[RefusedRow]) -> list[bytes]:
    """Ids of the refused rows, where they are valid product ids."""
    found = {row.product_id.encode(errors="replace") for row in refused if row.product_id}
    return [key for key in found if len(key) <= MAX_KEY]


def moment_text(microseconds: int) -> str:
    """A time as text for messages."""
    epoch = datetime.datetime(1970, 1, 1)
    return (epoch + datetime.timedelta(microseconds=microseconds)).isoformat() + "Z"
