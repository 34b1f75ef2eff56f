"""The states of many products as columns, and the merge of a day's equal rows into them.

The same rules as `state.delivered`, `state.pack` and `state.unpack`, for rows whose lasting content is the
stored one; those functions are the oracle of the tests.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmprod.datasets.store.checked_values import unseal
from mmprod.datasets.store.state import ABSENT, DAY_US, LAYOUT, NEVER, PINNED, PRESENT

Mask = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
Faults = npt.NDArray[np.uint32]

_STATE = np.dtype(
    [
        *((name, "V16") for name in ("image", "text", "fields")),
        ("fault", "<u4"),
        ("updated_at", "<i8"),
        *((name, "<i4") for name in ("content_day", "first_day", "seen_day", "gone_day")),
        ("flags", "u1"),
        ("sales", "<i8"),
        *((name, "<u8") for name in ("lasting", "volatile", "sequence", "field_sequence")),
    ]
)
"""The fixed part of a stored state, as `state.LAYOUT`."""

_CRC = 4
_SIZE = _CRC + LAYOUT.size


class StateColumns(NamedTuple):
    """Stored states, as they are: a structured array of `_STATE` [n], and the sealed bytes."""

    fixed: np.ndarray
    values: Sequence[bytes]

    @property
    def live(self) -> Mask:
        """Which products are live: present, and delivered once."""
        found: Mask = ((self.fixed["flags"] & PRESENT) != 0) & (self.fixed["content_day"] != NEVER)
        return found

    @property
    def has_picture(self) -> Mask:
        found: Mask = self.fixed["image"] != np.zeros(1, "V16")[0]
        return found


def read(keys: Sequence[bytes], values: Sequence[bytes]) -> StateColumns:
    """Decode sealed states. Raises: StateError naming the first damaged one."""
    crc32 = zlib.crc32
    found = np.frombuffer(b"".join([value[:_SIZE] for value in values]), np.uint8).reshape(-1, _SIZE)
    wanted = [crc32(value[_CRC:], crc32(key)) for key, value in zip(keys, values, strict=True)]
    wrong = found[:, :_CRC].copy().view("<u4")[:, 0] != np.array(wanted, np.uint32)
    if wrong.any():
        first = int(wrong.argmax())
        unseal("states", keys[first], values[first])
    return StateColumns(found[:, _CRC:].copy().view(_STATE)[:, 0], values)


def new_states(hashes: bytes, faults: Faults, day: int, latest: int, full_day: int) -> np.ndarray:
    """States of products first delivered on `day`, not before the latest full day; a structured array [n].

    `hashes`: image, text and fields hash of each, joined; `faults`: `Content.image_fault`. Times, sales,
    digests and sequence numbers are left 0. `full_day`: the latest full day once this day is ingested.
    """
    states = np.zeros(len(faults), _STATE)
    found = np.frombuffer(hashes, "V16").reshape(-1, 3)
    states["image"], states["text"], states["fields"] = found[:, 0], found[:, 1], found[:, 2]
    states["fault"] = faults
    for name in ("content_day", "first_day", "seen_day"):
        states[name] = day
    states["gone_day"] = latest
    states["flags"] = PRESENT | (PINNED if day < full_day else 0)
    return states


class Delivery(NamedTuple):
    """What a day's rows say beyond their equal lasting content: `updated_at` (µs, ABSENT for none), `sales`
    (ABSENT for none) and the digest of the volatile fields, each [n]."""

    updated_at: Int64s
    sales: Int64s
    volatile: npt.NDArray[np.uint64]


class Merged(NamedTuple):
    """The states after the rows; masks [n]: `changed`, the volatile fields are others; `written`, the stored
    bytes read under the new full day would give another state; `older`, the row is older than what is stored.
    """

    after: np.ndarray
    changed: Mask
    written: Mask
    older: Mask


def merge(stored: StateColumns, rows: Delivery, day: int, latest: int, full_day: int) -> Merged:
    """Deliver on `day` rows with the lasting content that live products have already.

    `latest`: the latest full day ingested; `full_day`: the same once this day is ingested.
    """
    now, unwritten = _read_under(stored.fixed, latest), _read_under(stored.fixed, full_day)
    older = _version(rows.updated_at, day) < _version(now["updated_at"], now["content_day"])
    older |= (_version(rows.updated_at, day) == _version(now["updated_at"], now["content_day"])) & (
        day < now["content_day"]
    )
    changed = rows.volatile != stored.fixed["volatile"]
    after = now.copy()
    newer = ~older
    after["content_day"][newer] = day
    for name in ("updated_at", "sales", "volatile"):
        after[name][newer] = getattr(rows, name)[newer]
    np.minimum(now["first_day"], day, out=after["first_day"])
    np.maximum(now["seen_day"], day, out=after["seen_day"])
    written = np.zeros(len(after), bool)
    for name in ("updated_at", "content_day", "first_day", "seen_day", "sales", "volatile"):
        written |= after[name] != unwritten[name]
    pinned = after["content_day"] < full_day
    after["flags"] = PRESENT | np.where(pinned, PINNED, 0)
    return Merged(after, changed, written, older)


def seal_all(keys: Sequence[bytes], fixed: np.ndarray, attributes: Sequence[bytes]) -> list[bytes]:
    """The sealed bytes of states, as `state.pack`; `attributes`: their canonical volatile attributes."""
    data, size, crc32 = fixed.tobytes(), LAYOUT.size, zlib.crc32
    bodies = [data[at : at + size] for at in range(0, len(data), size)]
    if any(attributes):
        bodies = [body + tail for body, tail in zip(bodies, attributes, strict=True)]
    return [
        crc32(body, crc32(key)).to_bytes(_CRC, "little") + body
        for key, body in zip(keys, bodies, strict=True)
    ]


def attributes_of(value: bytes) -> bytes:
    """The canonical volatile attributes in a sealed state."""
    return value[_SIZE:]


def _read_under(fixed: np.ndarray, full_day: int) -> np.ndarray:
    """The states of live products as read under the latest full day."""
    found = fixed.copy()
    np.maximum(fixed["seen_day"], full_day, out=found["seen_day"])
    free = (fixed["flags"] & PINNED) == 0
    found["content_day"][free] = np.maximum(fixed["content_day"][free], full_day)
    return found


def _version(updated_at: Int64s, day: Int64s | int) -> Int64s:
    midnight = np.multiply(day, DAY_US, dtype=np.int64)
    return np.where(updated_at == ABSENT, midnight, updated_at)
