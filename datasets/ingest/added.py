"""Rows of products that a shard has never heard of, merged by column: what most rows of a first day are.

There is no state before, so all of `merge.merge_part` but the hashes falls away. That function is the oracle
of the tests.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from mmprod.datasets.identity import EMPTY, content_hash
from mmprod.datasets.images.images import sniff
from mmprod.datasets.ingest.delivery import Row
from mmprod.datasets.ingest.merge import Day
from mmprod.datasets.store import changelog, record
from mmprod.datasets.store.changelog import Change, row_place
from mmprod.datasets.store.checked_values import seal
from mmprod.datasets.store.shard import Added, Shard
from mmprod.datasets.store.state import ABSENT
from mmprod.datasets.store.state_columns import new_states

_LEAST = 0.5
"""Share of new products from which on they get a transaction of their own."""


def merge_added(shard: Shard, day: Day, rows: Sequence[Row], tally: Counter[str]) -> Sequence[Row]:
    """Add the new products among rows whose pictures come with them; returns the other rows.

    Adds nothing when few are new, or when `day` lies before the latest full day. Outcomes are counted in
    `tally` and logged as `merge_part` does.
    """
    keys = sorted(row.key for row in rows)
    known, latest = shard.read(lambda view: (view.present("states", keys), view.full_day))
    new = [row for row in rows if row.key not in known and not row.deleted]
    if day.number < latest or len(new) < _LEAST * len(rows) or not new:
        return rows
    new.sort(key=attrgetter("key"))
    added, told = _added(new, day, latest)
    shard.add(added, changelog.entries(day.date, day.table, told), day.date)
    tally["added"] += len(new)
    tally["pictures_rejected"] += len(told) - len(new)
    return [] if len(new) == len(rows) else [row for row in rows if row.key in known or row.deleted]


def _added(rows: Sequence[Row], day: Day, latest: int) -> tuple[Added, list[Change]]:
    """What is written for new products, given in order of key, and their changes."""
    hashes, records, told = list[bytes](), list[tuple[bytes, bytes]](), list[Change]()
    faults, pictures = np.zeros(len(rows), np.uint32), dict[bytes, bytes]()
    for number, row in enumerate(rows):
        key, image_hash, reason, name = row.key, EMPTY, None, row.key.decode()
        place = row_place(row.place)
        told.append(Change(place, name, "added", "", row.source))
        if row.image is not None:
            reason = sniff(row.image)
            if reason is None:
                image_hash = content_hash(row.image)
                pictures[image_hash] = row.image
            else:
                faults[number] = zlib.crc32(reason.encode())
                told.append(Change(place, name, "picture_rejected", reason, row.source))
        hashes += (image_hash, content_hash(row.title.encode()), content_hash(row.fields))
        records.append((key, seal(key, record.body(row.title, reason, row.fields))))
    states = new_states(b"".join(hashes), faults, day.number, latest, day.full_day(latest))
    states["updated_at"] = [ABSENT if row.updated_at is None else row.updated_at for row in rows]
    states["sales"] = [ABSENT if row.volatile.sales is None else row.volatile.sales for row in rows]
    states["lasting"] = [row.digests.lasting for row in rows]
    states["volatile"] = [row.digests.volatile for row in rows]
    attributes = [row.volatile.attributes for row in rows]
    return Added([row.key for row in rows], states, attributes, records, pictures), told
