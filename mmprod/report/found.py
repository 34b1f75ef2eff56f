"""Writes the results of saved searches to a file: an HTML page with pictures, or a list."""

from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.report.card import card
from mmprod.report.page import Page, Part, Strip, save
from mmprod.stages.search.lists import write_list
from mmprod.stages.search.saved import found_list

SHOWN = 12  # products per search on the page


def write_found(lake: Lake, store: Store, path: Path, since: date | None = None) -> int:
    """Write the results of saved searches, optionally only those since a day; returns their number.

    Raises: InputError, as `write_list`.
    """
    found = found_list(lake, store, since)
    if path.suffix == ".html":
        save(found_page(store, found), path)
    else:
        write_list(found, path)
    return int(found.num_rows)


def found_page(store: Store, found: pa.Table) -> Page:
    """A page with the first products of each search; `found`: schema FOUND, grouped by search."""
    strips = [_strip(store, search, list(rows)) for search, rows in groupby(found.to_pylist(), _search)]
    text = f"Up to {SHOWN} products of each search, best first: score, and the day it was first found."
    return Page("Saved searches", [Part("", text, strips=strips)])


def _search(row: dict[str, Any]) -> tuple[str, str]:
    return row["text"], row["within"]


def _strip(store: Store, search: tuple[str, str], rows: list[dict[str, Any]]) -> Strip:
    cards = [card(store, r["product_id"], f"{r['score']:.2f} · {r['since']}") for r in rows[:SHOWN]]
    return Strip(" in ".join(filter(None, search)), cards, note=f"{len(rows)} products")
