"""One self-contained HTML page from blocks: text, tables of figures, and strips of product pictures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from mmprod.datasets.files import replace_file


@dataclass(frozen=True)
class Card:
    """A product as shown: `picture` is JPEG bytes, `mark` is "right", "wrong" or "" for not judged."""

    product_id: str
    title: str
    picture: bytes | None
    note: str = ""
    mark: str = ""

    @property
    def source(self) -> str:
        """The picture as a data: address."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.picture or b'').decode()}"


@dataclass(frozen=True)
class Strip:
    """A question and its answers: products side by side, `lead` (the anchor) set apart."""

    heading: str
    cards: Sequence[Card]
    lead: Card | None = None
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A share in [0, 1] as a bar, with its 95 % interval where known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells: text, numbers or Figures."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing: `source` is a data: address of an SVG."""

    source: str
    caption: str


@dataclass(frozen=True)
class Part:
    """A titled part of the page."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    strips: Sequence[Strip] = ()
    plots: Sequence[Plot] = ()


@dataclass(frozen=True)
class Page:
    """The whole report; `facts` are the headline figures (label, value)."""

    title: str
    parts: Sequence[Part]
    facts: Sequence[tuple[str, str]] = field(default_factory=list)


def render(page: Page) -> str:
    """The page as HTML that needs no network: styles and pictures are inside, scripts there are none."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmprod.report", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.tests["figure"] = lambda cell: isinstance(cell, Figure)
    environment.filters["cell"] = _cell
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template("page.html").render(page=page, made=made)


def save(page: Page, path: Path) -> None:
    """Render to a file, whole or not at all."""
    replace_file(path, render(page))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
