"""The change log of each day, row by row, kept in the store until it is published.

A log row is written in the same transaction as the states it describes. So a crash loses none, and a rerun,
which finds these products unchanged, need not log them again. A shard's `changes` database holds, sorted:

- day: the random name of the day's log, drawn at its start, by which a published log is recognised;
- day + table + place + kind: a log row, in the order of the day's table.

The first writer of a key wins. `day` has 4 bytes (big endian, from 2**31 days before 1970), `table` is 8
bytes of a hash of the table's fingerprint.
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
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.view import Slice


class Change(NamedTuple):
    """A row of schema `CHANGE` without its day."""

    place: bytes  # sort key within the table; unique together with `kind`
    product_id: str | None
    kind: str
    reason: str
    source: str


def refused_place(number: int) -> bytes:
    """Place of a table's refused row, by its number among the refused: these sort before all others."""
    return b"q" + number.to_bytes(8, "big")


def row_place(number: int) -> bytes:
    """Place of a table's usable row, by its number among the usable."""
    return b"r" + number.to_bytes(8, "big")


def absent_place(key: bytes) -> bytes:
    """Place of a product that the table leaves out: these sort after all rows."""
    return b"z" + content_hash(key)


def entries(day: datetime.date, table: str, changes: Iterable[Change]) -> Slice:
    """Sorted keys and sealed values for `changes`; `table` is the fingerprint of the day's table."""
    start = _start(day)
    stem = start + content_hash(table.encode())[:8]
    rows = sorted(
        (stem + change.place + change.kind.encode(), orjson.dumps(change[1:])) for change in changes
    )
    name = [(start, secrets.token_hex(8).encode())] if rows else []
    return [(key, seal(key, value)) for key, value in (*name, *rows)]


def read(shard: Shard, day: datetime.date) -> Iterator[pa.RecordBatch]:
    """The rows of a day in batches of schema `CHANGE`. The cost is proportional to what the day changed.

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
    """The name of the day's log, a new one each time the log begins; None when there is no log."""
    start = _start(day)
    found = shard.get("changes", [start])
    return found[start].decode() if found else None


def forget(shard: Shard, day: datetime.date) -> None:
    """Remove the log of a day, one transaction a chunk; its name last, so that a crash can be resumed."""
    if name(shard, day) is None:
        return
    start = _start(day)
    for found, _ in shard.chunks("changes", start, start):
        shard.remove("changes", [key for key, _ in found])
    shard.remove("changes", [start])


def _start(day: datetime.date) -> bytes:
    return (day_number(day) + 2**31).to_bytes(4, "big")
