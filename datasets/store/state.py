"""The state of a product in the store, and how a day changes it: a merge independent of the order of days.

A day contributes one of three events to a product: its row is usable (`delivered`), its row can't be used
(`seen`), or it is removed (`gone`: by a row that deletes it, or by its absence from a full table). A state
consists of three registers. Each is a maximum or minimum over the days, so merging is commutative,
associative and idempotent:

- content: the delivery with the greatest key (version, day) counts, where the version is `updated_at`, or
  midnight (UTC) of the day for a row without one;
- presence: the latest day with an event counts;
- first day: the earliest delivery.

**Nothing is written for an unchanged row.** Instead, a state is read under F, the latest full day ingested.
A product that is present was seen on F or later, since its absence would have removed it. A product that is
not present was gone on F or later. Content counts as delivered on F, unless the state is `pinned` (seen on F
or later, but not with this content). A product without a state was absent on F. Earlier full days need not be
stored: F overrides them. A merge is written only if the stored bytes, read under the new F, would give
another state.

**Limits.** Order independence holds for one table a day. When a day is delivered again with other rows, the
later delivery wins where both have a product with equal keys, and products that only the first one had stay.
It also requires that an address always gives the same picture, and a path the same file.

**Volatile fields** (sales, price, stock; `mmprod.datasets.volatile`) belong to the delivery in force too, but
a change of them moves no sequence number: they are kept in the state itself, so that a day which changes
nothing else rewrites states of fixed place and size, and no record.
"""

import struct
from typing import NamedTuple

from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.volatile import NOTHING, Volatile

NEVER = -(2**31)
"""A day number smaller than every real day."""

DAY_US = 86_400_000_000
ABSENT = -(2**63)
"""Stands for a missing time or sales figure."""

LAYOUT = struct.Struct("<16s16s16sIqiiiiBqQQQQ")
PRESENT, PINNED = 1, 2


class Content(NamedTuple):
    """Hashes of a delivered row's content."""

    image_hash: bytes = EMPTY  # 16 bytes, of the picture's bytes
    text_hash: bytes = EMPTY  # 16 bytes, of the normalised title
    fields_hash: bytes = EMPTY  # 16 bytes, of the canonical other fields
    image_fault: int = 0  # crc32 of the reason why there is no picture


class Digests(NamedTuple):
    """64-bit hashes of a row, by which an equal row is recognised (`ingest.digests`); 0: unknown."""

    lasting: int = 0
    volatile: int = 0


class State(NamedTuple):
    """A product's state as read under the latest full day. Days are counted from 1970-01-01.

    `sequence` is the number of its latest change in picture, title or liveness within its shard,
    `field_sequence` that of its latest change in the lasting fields; 0 for none.
    """

    content: Content = Content()
    updated_at: int | None = None  # µs since 1970, as delivered
    content_day: int = NEVER  # the day whose delivery is in force
    first_day: int = NEVER
    seen_day: int = NEVER
    gone_day: int = NEVER
    present: bool = False
    volatile: Volatile = NOTHING
    digests: Digests = Digests()
    sequence: int = 0
    field_sequence: int = 0

    @property
    def known(self) -> bool:
        """Whether it was ever delivered. If not, the state holds only its presence."""
        return self.content_day != NEVER

    @property
    def live(self) -> bool:
        return self.present and self.known

    @property
    def key(self) -> tuple[int, int]:
        """(version, day) of the delivery in force."""
        return version(self.updated_at, self.content_day), self.content_day


def version(updated_at: int | None, day: int) -> int:
    """Version of a row in µs since 1970: `updated_at`, or midnight of its day."""
    return day * DAY_US if updated_at is None else updated_at


def unheard(full_day: int) -> State:
    """The state of a product that the store has no entry for: absent on the latest full day."""
    return State(gone_day=full_day)


def seen(state: State, day: int) -> State:
    """The state after `day` delivered an unusable row. A deletion on the same day takes precedence."""
    present = state.present or day > state.gone_day
    return state._replace(seen_day=max(state.seen_day, day), present=present)


def delivered(
    state: State,
    content: Content,
    updated_at: int | None,
    day: int,
    volatile: Volatile = NOTHING,
    digests: Digests = Digests(),  # noqa: B008 (a constant)
) -> State:
    """The state after a row with `content` and `volatile` was delivered on `day`."""
    content_day, first = day, day
    if state.known:
        first = min(state.first_day, day)
        if (version(updated_at, day), day) < state.key:
            content, updated_at, content_day = state.content, state.updated_at, state.content_day
            volatile, digests = state.volatile, state.digests
    last, present = max(state.seen_day, day), state.present or day >= state.gone_day
    return State(
        content, updated_at, content_day, first, last, state.gone_day, present, volatile, digests, *state[9:]
    )


def gone(state: State, day: int) -> State:
    """The state after a row of `day` deleted the product, or the day's full table left it out."""
    if state.present and day < state.seen_day:
        return state
    return state._replace(present=False, gone_day=max(state.gone_day, day))


def moves(old: State, new: State) -> tuple[bool, bool]:
    """Whether a change from `old` to `new` moves `sequence`, and whether it moves `field_sequence`."""
    a, b = old.content, new.content
    told = (old.live, old.known, a.image_hash, a.text_hash, a.image_fault)
    return told != (
        new.live,
        new.known,
        b.image_hash,
        b.text_hash,
        b.image_fault,
    ), a.fields_hash != b.fields_hash


def pack(key: bytes, state: State, full_day: int) -> bytes:
    """Encode `state`, valid when read under `full_day` and under later full days that leave it unchanged."""
    pinned = state.present and state.content_day < full_day
    body = LAYOUT.pack(
        *state.content,
        ABSENT if state.updated_at is None else state.updated_at,
        *state[2:6],
        PRESENT * state.present | PINNED * pinned,
        ABSENT if state.volatile.sales is None else state.volatile.sales,
        *state.digests,
        *state[9:],
    )
    return seal(key, body + state.volatile.attributes)


def unpack(key: bytes, value: bytes, full_day: int) -> State:
    """Decode a state under the latest full day: the inverse of `pack`.

    Raises: StateError when the checksum or the length is wrong.
    """
    body = unseal("states", key, value)
    (image, text, fields, fault, updated_at, content, first, last, left, flags, sales, *numbers) = (
        LAYOUT.unpack_from(body)
    )
    present = bool(flags & PRESENT)
    if not present:
        left = max(left, full_day)
    else:
        last = max(last, full_day)
        if content != NEVER and not flags & PINNED:
            content = max(content, full_day)
    return State(
        Content(image, text, fields, fault),
        None if updated_at == ABSENT else updated_at,
        *(content, first, last, left, present),
        Volatile(None if sales == ABSENT else sales, body[LAYOUT.size :]),
        Digests(*numbers[:2]),
        *numbers[2:],
    )


def renumbered(key: bytes, value: bytes, sequence: int, field_sequence: int) -> bytes:
    """Replace the sequence numbers in the bytes of `pack`; works without knowing the full day."""
    body = unseal("states", key, value)
    head = LAYOUT.unpack_from(body)[:-2]
    return seal(key, LAYOUT.pack(*head, sequence, field_sequence) + body[LAYOUT.size :])
