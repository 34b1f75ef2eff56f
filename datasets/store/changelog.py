"""What a day did, row by row, kept in the store until it is published.

A row is written in the transaction of the states it tells of, so a crash loses none and a rerun, which finds
these products unchanged, has no need to tell of them again. The `changes` database of a shard holds, sorted:

- day: the name of the day's log, drawn when it begins, by which a published log is known again;
- day + table + place + kind: a row, in the order of the day's table.

The first writer of a key wins. `day` has 4 bytes (big endian, from 2**31 days before 1970), `table` 8 bytes
of a hash of the table's fingerprint.
"""

import datetime
import secrets
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson
import pyarrow as pa

from mmprod.datasets.identity import content_hash, day_number
from mmprod.datasets.schemas import CHANGE
from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.store.shard import Shard, Slice


class Change(NamedTuple):
    """A row of schema `CHANGE` without its day."""

    place: bytes  # what orders the rows of a table; with `kind` unique among them
    product_id: str | None
    kind: str
    reason: str
    source: str


def refused_place(number: int) -> bytes:
    """Place of a table's refused row by its number among these: before all others."""
    return b"q" + number.to_bytes(8, "big")


def row_place(number: int) -> bytes:
    """Place of a table's usable row by its number among these."""
    return b"r" + number.to_bytes(8, "big")


def absent_place(key: bytes) -> bytes:
    """Place of a product the table leaves out: after all rows, whatever their number."""
    return b"z" + content_hash(key)


def entries(day: datetime.date, table: str, changes: Iterable[Change]) -> Slice:
    """Keys and sealed values of rows, sorted; `table` is the fingerprint of the table that brought them."""
    start = _start(day)
    stem = start + content_hash(table.encode())[:8]
    rows = sorted(
        (stem + change.place + change.kind.encode(), orjson.dumps(change[1:])) for change in changes
    )
    name = [(start, secrets.token_hex(8).encode())] if rows else []
    return [(key, seal(key, value)) for key, value in (*name, *rows)]


def read(shard: Shard, day: datetime.date) -> Iterator[pa.RecordBatch]:
    """The rows of a day in batches of schema `CHANGE`. Costs what the day changed.

    Raises: StateError when one is damaged.
    """
    start = _start(day)
    for found, _ in shard.chunks("changes", start, start):
        rows = [orjson.loads(unseal("changes", key, value)) for key, value in found]
        ids, kinds, reasons, sources = zip(*rows, strict=True)
        columns = (ids, [day] * len(rows), kinds, reasons, sources)
        yield pa.RecordBatch.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, CHANGE, strict=True)],
            schema=CHANGE,
        )


def name(shard: Shard, day: datetime.date) -> str | None:
    """The name of the day's log, another one each time it begins; None when there is none."""
    start = _start(day)
    found = shard.get("changes", [start])
    return found[start].decode() if found else None


def forget(shard: Shard, day: datetime.date) -> None:
    """Remove the rows of a day, a transaction a chunk; its name goes last, so that all can be resumed."""
    if name(shard, day) is None:
        return
    start = _start(day)
    for found, _ in shard.chunks("changes", start, start):
        shard.remove("changes", [key for key, _ in found])
    shard.remove("changes", [start])


def _start(day: datetime.date) -> bytes:
    return (day_number(day) + 2**31).to_bytes(4, "big")
