"""Three days of the marketplace, and the counts that ingest should report for each if run in order.

Every day is a full table. Of day 2's products about 3 % are new, 2 % have another picture, 3 % another
title, 2 % other sales and price, and 2 % are gone; some rows and pictures are bad. Day 3 does the same,
brings half of the gone ones back and shows some of day 2's changes in their old version: the stale rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from mmprod.datasets.schemas import KINDS
from mmprod.demo.hostile import ODD, UNUSABLE
from mmprod.demo.items import Item
from mmprod.demo.listings import Listing, make_listings, new_fields, new_picture, new_title, new_volatile

FIRST_DAY = datetime(2025, 3, 3, tzinfo=UTC)
_SHARES = {"added": 0.03, "picture": 0.02, "title": 0.03, "fields": 0.02, "removed": 0.02, "stale": 0.01}
_SHARES["volatile"] = 0.2
_FUTURE = datetime(2099, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Day:
    """A day's table before its pictures are drawn."""

    date: datetime
    rows: list[Listing]
    live: dict[str, Listing]  # by product id, as ingest should know them at the end of the day
    planted: dict[str, int]  # rows, unchanged, picture_rejected and a count for each of KINDS and volatile


def plan_days(items: list[Item], seed: int) -> list[Day]:
    """The three days of a marketplace of `items`."""
    listings = make_listings(items, seed, before=FIRST_DAY)
    new = _count("added", len(listings))
    first, second, third = listings[: -2 * new], listings[-2 * new : -new], listings[-new:]
    day1 = Day(FIRST_DAY, first, _by_id(first), _counts(len(first), {"added": len(first)}))
    day2 = _next_day(day1, day1, second, np.random.default_rng([seed, 2]))
    return [day1, day2, _next_day(day2, day1, third, np.random.default_rng([seed, 3]))]


def _next_day(before: Day, earlier: Day, fresh: list[Listing], rng: np.random.Generator) -> Day:
    """The day after `before`; stale and relisted products are as they were on `earlier`."""
    date = before.date + timedelta(days=1)
    gone = [listing for id_, listing in earlier.live.items() if id_ not in before.live]
    old = [row for id_, row in earlier.live.items() if before.live.get(id_, row) != row]
    stale = old[: _count("stale", len(before.live))] if old else []
    relisted = [replace(listing, updated_at=_at(date, rng)) for listing in gone[::2]]
    taken = {row.product_id for row in stale}
    calm = [row for id_, row in before.live.items() if id_ not in taken and not row.broken]
    changed, removed = _changes(calm, rng, date)
    added = _with_odd_pictures([replace(listing, updated_at=_at(date, rng)) for listing in fresh])
    news = [*added, *relisted, *(row for rows in changed.values() for row in rows)]
    live = {id_: row for id_, row in before.live.items() if id_ not in removed} | _by_id(news)
    bad = _bad_rows(live, date)
    rows = [*(live | _by_id(stale)).values(), *bad]
    found = {kind: len(kind_rows) for kind, kind_rows in changed.items()} | {
        "added": len(added), "removed": len(removed), "relisted": len(relisted),
        "stale": len(stale), "quarantined": len(bad),
        "picture_rejected": sum(row.broken in UNUSABLE for row in news),
    }  # fmt: skip
    return Day(date, [rows[at] for at in rng.permutation(len(rows))], live, _counts(len(rows), found))


def _changes(
    calm: list[Listing], rng: np.random.Generator, date: datetime
) -> tuple[dict[str, list[Listing]], set[str]]:
    """The changes to the products in `calm`, by kind, and the ids of those that are removed.

    Some that change their picture change their title too, and some of those that change their title their
    brand: a product counts once, picture before title before fields. Of many only sales and price change.
    """
    order = iter(rng.permutation(len(calm)))
    pick = {kind: [calm[next(order)] for _ in range(_count(kind, len(calm)))] for kind in _SHARES}
    pictures = [new_picture(row, rng, _at(date, rng)) for row in pick["picture"]]
    pictures[::3] = [new_title(row, rng, row.updated_at) for row in pictures[::3]]
    pictures[:2] = [replace(row, broken=kind) for row, kind in zip(pictures[:2], UNUSABLE, strict=False)]
    titles = [new_title(row, rng, _at(date, rng)) for row in pick["title"]]
    titles[::3] = [new_fields(row, rng, row.updated_at) for row in titles[::3]]
    fields = [new_fields(row, rng, _at(date, rng)) for row in pick["fields"]]
    volatile = [new_volatile(row, rng, _at(date, rng)) for row in pick["volatile"]]
    changed = {"picture": pictures, "title": titles, "fields": fields, "volatile": volatile}
    return changed, set(_by_id(pick["removed"]))


def _with_odd_pictures(rows: list[Listing]) -> list[Listing]:
    kinds = [*UNUSABLE, *ODD]
    odd = [replace(row, broken=kind) for row, kind in zip(rows, kinds, strict=False)]
    return [*odd, *rows[len(odd) :]]


def _bad_rows(live: dict[str, Listing], date: datetime) -> list[Listing]:
    """Rows that ingest must refuse: no id, an id that a spreadsheet mangled, an update in the future."""
    row = next(row for row in live.values() if not row.broken)
    return [
        replace(row, product_id=None),
        replace(row, product_id=f"6.28E+{date.day + 12}"),
        replace(row, product_id=f"D9{date.day:05d}", updated_at=_FUTURE),
    ]


def _at(date: datetime, rng: np.random.Generator) -> datetime:
    """A moment in the first six hours of a day."""
    return date + timedelta(seconds=int(rng.integers(6 * 3600)))


def _count(kind: str, products: int) -> int:
    least = len(UNUSABLE) + len(ODD) if kind == "added" else 2
    return max(least, round(_SHARES[kind] * products))


def _by_id(rows: Iterable[Listing]) -> dict[str, Listing]:
    return {row.product_id: row for row in rows if row.product_id is not None}


def _counts(rows: int, found: dict[str, int]) -> dict[str, int]:
    counts = {kind: found.get(kind, 0) for kind in (*KINDS, "volatile")}
    listed = sum(counts.values()) - counts["removed"]
    rejected = found.get("picture_rejected", 0)
    return {"rows": rows, "unchanged": rows - listed, **counts, "picture_rejected": rejected}
