"""What the store knows of a product's standing, and how a day changes it: a merge that no order can upset.

A day says one of three things of a product: here it is (`delivered`), it is there but the row can't be used
(`seen`), it is gone (`gone`: a row that deletes it, or its absence from a full table). A state is three
registers, each a maximum or minimum over the days, so merging is commutative, associative and idempotent:

- content: the delivery with the greatest key (version, day) holds, where the version is `updated_at`, or the
  midnight (UTC) of the day for a row without one;
- presence: the latest day that said anything holds;
- first day: the earliest delivery.

**Writing nothing for an unchanged row.** A product that stands unchanged in a full table leaves no trace.
Its state is read under F, the latest full day ingested: whoever is present was seen on F or later (absence
would have removed it), whoever is not was gone on F or later, and content is confirmed as of F unless the
state is `pinned` (seen on F or later, but not with this content). A product never heard of was absent on F.
Earlier full days need no memory: F decides over them. A merge is worth writing only if the bytes in the
store, read under the new F, would say something else.

**Limits.** Order independence holds for one table a day. When a day is delivered again with other rows, the
later delivery wins wherever both speak of a product with equal keys, and what only the first one said stays.
It also holds only as far as an address always gives the same picture, and a path the same file.
"""

import struct
from typing import NamedTuple

from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.checked_values import seal, unseal

NEVER = -(2**31)
"""A day before all days."""

DAY_US = 86_400_000_000
_UNDATED = -(2**63)
_LAYOUT = struct.Struct("<16s16s16sIqiiiiBQ")
_PRESENT, _PINNED = 1, 2


class Content(NamedTuple):
    """Identity of what was delivered."""

    image_hash: bytes = EMPTY  # 16 bytes, of the picture's bytes
    text_hash: bytes = EMPTY  # 16 bytes, of the normalised title
    fields_hash: bytes = EMPTY  # 16 bytes, of the canonical other fields
    image_fault: int = 0  # crc32 of the reason why there is no picture


class State(NamedTuple):
    """A product's standing, with all that follows from the latest full day explicit. Days: since 1970."""

    content: Content = Content()
    updated_at: int | None = None  # µs since 1970, as delivered
    content_day: int = NEVER  # the day whose delivery holds
    first_day: int = NEVER
    seen_day: int = NEVER
    gone_day: int = NEVER
    present: bool = False
    sequence: int = 0  # of its latest change in its shard, 0 for none

    @property
    def known(self) -> bool:
        """Whether it was ever delivered. If not, only its presence is noted."""
        return self.content_day != NEVER

    @property
    def live(self) -> bool:
        return self.present and self.known

    @property
    def key(self) -> tuple[int, int]:
        """(version, day) of the delivery that holds."""
        return version(self.updated_at, self.content_day), self.content_day


def version(updated_at: int | None, day: int) -> int:
    """Version of a row in µs since 1970: `updated_at`, or the midnight of its day."""
    return day * DAY_US if updated_at is None else updated_at


def unheard(full_day: int) -> State:
    """The state of a product the store knows nothing of: absent on the latest full day."""
    return State(gone_day=full_day)


def seen(state: State, day: int) -> State:
    """Its row came on `day` but can't be used. A deletion of the same day is stronger."""
    present = state.present or day > state.gone_day
    return state._replace(seen_day=max(state.seen_day, day), present=present)


def delivered(state: State, content: Content, updated_at: int | None, day: int) -> State:
    """`content` came on `day`."""
    content_day, first = day, day
    if state.known:
        first = min(state.first_day, day)
        if (version(updated_at, day), day) < state.key:
            content, updated_at, content_day = state.content, state.updated_at, state.content_day
    last, present = max(state.seen_day, day), state.present or day >= state.gone_day
    return State(content, updated_at, content_day, first, last, state.gone_day, present, state.sequence)


def gone(state: State, day: int) -> State:
    """Deleted by a row of `day`, or absent from its full table."""
    if state.present and day < state.seen_day:
        return state
    return state._replace(present=False, gone_day=max(state.gone_day, day))


def pack(key: bytes, state: State, full_day: int) -> bytes:
    """Bytes that say `state` under `full_day`, and under later full days that leave it unchanged."""
    pinned = state.present and state.content_day < full_day
    body = _LAYOUT.pack(
        *state.content,
        _UNDATED if state.updated_at is None else state.updated_at,
        *state[2:6],
        _PRESENT * state.present | _PINNED * pinned,
        state.sequence,
    )
    return seal(key, body)


def unpack(key: bytes, value: bytes, full_day: int) -> State:
    """The inverse of `pack`, read under the latest full day.

    Raises: StateError when the checksum or the length is wrong.
    """
    body = unseal("states", key, value)
    image, text, fields, fault, updated_at, content, first, last, left, flags, sequence = _LAYOUT.unpack(body)
    present = bool(flags & _PRESENT)
    if not present:
        left = max(left, full_day)
    else:
        last = max(last, full_day)
        if content != NEVER and not flags & _PINNED:
            content = max(content, full_day)
    stamp = None if updated_at == _UNDATED else updated_at
    return State(Content(image, text, fields, fault), stamp, content, first, last, left, present, sequence)


def renumbered(key: bytes, value: bytes, sequence: int) -> bytes:
    """The bytes of `pack` with another sequence number, whatever full day they are read under."""
    body = _LAYOUT.unpack(unseal("states", key, value))
    return seal(key, _LAYOUT.pack(*body[:-1], sequence))
