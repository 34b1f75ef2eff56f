"""A page of what saved searches found."""

from itertools import groupby
from typing import Any

import pyarrow as pa

from mmprod.datasets.store.store import Store
from mmprod.report.card import card
from mmprod.report.page import Page, Part, Strip

SHOWN = 12  # products of a search


def found_page(store: Store, found: pa.Table) -> Page:
    """The first products of each search, with pictures; `found` is of schema FOUND, searches together."""
    strips = [_strip(store, search, list(rows)) for search, rows in groupby(found.to_pylist(), _search)]
    text = f"Up to {SHOWN} products of each search, best first: score, and the day it was first found."
    return Page("Saved searches", [Part("", text, strips=strips)])


def _search(row: dict[str, Any]) -> tuple[str, str]:
    return row["text"], row["within"]


def _strip(store: Store, search: tuple[str, str], rows: list[dict[str, Any]]) -> Strip:
    cards = [card(store, r["product_id"], f"{r['score']:.2f} · {r['since']}") for r in rows[:SHOWN]]
    return Strip(" in ".join(filter(None, search)), cards, note=f"{len(rows)} products")
