"""Writes the results of a search to a file: an HTML page with pictures, or a list."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmprod.datasets.store.store import Store
from mmprod.report.card import card
from mmprod.report.page import Card, Page, Part, Strip, save
from mmprod.stages.search.lists import write_list
from mmprod.stages.search.search import Found, as_table


def write_answer(store: Store, title: str, found: Sequence[Found], path: Path) -> None:
    """Write the results to a file atomically. Raises: InputError, as `write_list`."""
    if path.suffix == ".html":
        save(search_page(store, title, found), path)
    else:
        write_list(as_table(found), path)


def search_page(store: Store, query: str, found: Sequence[Found]) -> Page:
    """The results of a search as a page."""
    return Page(
        query, [Part("", f"{len(found)} products, best first", strips=[Strip("", cards(store, found))])]
    )


def cards(store: Store, found: Sequence[Found], right: Mapping[str, bool] | None = None) -> list[Card]:
    """Cards of the products found; `right`: whether a product is a correct result, where that is known."""
    marks = {True: "right", False: "wrong", None: ""}
    return [card(store, f.product_id, _scores(f), marks[(right or {}).get(f.product_id)]) for f in found]


def _scores(found: Found) -> str:
    """The score as text; with the cosines of picture and title, if both counted."""
    if found.image_score is None or found.text_score is None:
        return f"{found.score:.2f}"
    return f"{found.score:.2f} · p {found.image_score:.2f} · t {found.text_score:.2f}"
