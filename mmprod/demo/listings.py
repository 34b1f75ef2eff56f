"""Listings of items by sellers. A product of the table is one listing of an item on one day."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from mmprod.demo.items import Item
from mmprod.demo.titles import STUFFED, seller_title
from mmprod.demo.vocabulary import BRANDS

TWICE, THRICE = 0.22, 0.13  # shares of items that two and three sellers list
SAME_PICTURE = 0.1  # share of further listings that copy the first seller's picture


@dataclass(frozen=True)
class Listing:
    """One row of the table before its picture is drawn."""

    product_id: str | None  # None only in rows that are meant to be refused
    item: Item
    shot: int  # number of the picture's shot
    broken: str  # how the picture is broken or odd (a name in `hostile`), "" for an ordinary JPEG
    title: str
    stuffed: bool
    brand: str
    sales: int
    price: str
    updated_at: datetime


def make_listings(items: list[Item], seed: int, before: datetime) -> list[Listing]:
    """All listings of `items`, shuffled, ids D000000, D000001, …; last updated in the month `before`."""
    rng = np.random.default_rng([seed, 1])
    drafts: list[Listing] = []
    for item in items:
        first = int(rng.integers(2**31))
        drafts.append(_draft(item, first, rng, before))
        for _ in range(int(rng.choice(3, p=(1 - TWICE - THRICE, TWICE, THRICE)))):
            shot = first if rng.random() < SAME_PICTURE else int(rng.integers(2**31))
            drafts.append(_draft(item, shot, rng, before))
    order = rng.permutation(len(drafts))
    return [replace(drafts[at], product_id=f"D{number:06d}") for number, at in enumerate(order)]


def _draft(item: Item, shot: int, rng: np.random.Generator, before: datetime) -> Listing:
    stuffed = bool(rng.random() < STUFFED)
    return Listing(
        product_id=None,
        item=item,
        shot=shot,
        broken="",
        title=seller_title(item, rng, stuffed),
        stuffed=stuffed,
        brand=str(rng.choice(BRANDS)),
        sales=int(3 * (1 + rng.pareto(1.1))),  # a long tail: a few sell thousands
        price=f"{rng.lognormal(3.4, 0.6):.2f}",
        updated_at=before - timedelta(seconds=int(rng.integers(30 * 86_400))),
    )


def new_picture(listing: Listing, rng: np.random.Generator, when: datetime) -> Listing:
    """The same listing with another picture of the same item."""
    return replace(listing, shot=int(rng.integers(2**31)), broken="", updated_at=when)


def new_title(listing: Listing, rng: np.random.Generator, when: datetime) -> Listing:
    """The same listing with another title, as honest or stuffed as it was."""
    title = listing.title
    while title == listing.title:
        title = seller_title(listing.item, rng, listing.stuffed)
    return replace(listing, title=title, updated_at=when)


def new_fields(listing: Listing, rng: np.random.Generator, when: datetime) -> Listing:
    """The same listing under another brand."""
    others = [brand for brand in BRANDS if brand != listing.brand]
    return replace(listing, brand=str(rng.choice(others)), updated_at=when)


def new_volatile(listing: Listing, rng: np.random.Generator, when: datetime) -> Listing:
    """The same listing with other sales and another price."""
    sales = listing.sales + int(rng.integers(1, 50))
    return replace(listing, sales=sales, price=f"{float(listing.price) * 0.9:.2f}", updated_at=when)
