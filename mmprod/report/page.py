"""One self-contained HTML page from blocks: text, figures, tables, curves, and strips of product pictures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from mmprod.datasets.lazy import lazy
from mmprod.storage.files import replace_file

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = lazy("jinja2")  # slow to import; most commands render no page


@dataclass(frozen=True)
class Card:
    """A product on a page. `picture`: JPEG bytes; `mark`: "right", "wrong", "open" (not judged) or "".

    With `text` it is not a product but a text that was searched for; the title is shown large.
    """

    product_id: str
    title: str
    picture: bytes | None
    note: str = ""
    mark: str = ""
    text: bool = False

    @property
    def source(self) -> str:
        """The picture as a data: URL."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.picture or b'').decode()}"


@dataclass(frozen=True)
class Strip:
    """A query and its results: products side by side, with `lead` (the anchor) set apart."""

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
class Change:
    """A difference of two shares, in [-1, 1], with its 95 % interval if known; positive is better.

    `span`: the largest difference the bar can show; equal within a table, so that its bars can be compared.
    """

    value: float
    low: float | None = None
    high: float | None = None
    span: float = 1.0

    def place(self, difference: float) -> float:
        """The place of a difference in the bar, in percent of its width."""
        return 50 + 50 * max(-1.0, min(1.0, difference / self.span))


@dataclass(frozen=True)
class Trend:
    """Shares over time, oldest first, as a small curve."""

    values: Sequence[float]

    @property
    def points(self) -> str:
        """The curve as SVG points in a box of 100 x 24, scaled from its smallest to its largest value."""
        low, high = min(self.values), max(self.values)
        step = 100 / max(1, len(self.values) - 1)
        heights = [22 - 20 * ((v - low) / (high - low) if high > low else 0.5) for v in self.values]
        return " ".join(f"{i * step:.1f},{y:.1f}" for i, y in enumerate(heights))


@dataclass(frozen=True)
class Link:
    """A link to another page in the same folder."""

    text: str
    file: str

    @property
    def address(self) -> str:
        """The file name as a relative URL; it can't lead to another host or to a script."""
        return "./" + quote(self.file)


@dataclass(frozen=True)
class Table:
    """Rows of cells: text, numbers, Figures, Changes, Trends or Links; `folded`: show only the title."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A plot: `source` is a data: URL of an SVG, `legend` its lines as (colour, name)."""

    source: str
    caption: str
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Headline:
    """A figure shown large."""

    label: str
    figure: Figure
    note: str = ""


@dataclass(frozen=True)
class Notice:
    """A highlighted sentence."""

    text: str
    kind: Literal["good", "bad", "plain"] = "plain"


@dataclass(frozen=True)
class Part:
    """A titled part of the page; `headlines`: titled rows of figures; `terms`: explanations."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    strips: Sequence[Strip] = ()
    plots: Sequence[Plot] = ()
    notices: Sequence[Notice] = ()
    headlines: Sequence[tuple[str, Sequence[Headline]]] = ()
    terms: Sequence[tuple[str, str]] = ()

    @property
    def compact(self) -> bool:
        """Whether the strips are so short that several fit side by side."""
        return all(strip.lead is not None and len(strip.cards) == 1 for strip in self.strips)


@dataclass(frozen=True)
class Page:
    """The whole page; `facts`: short (label, value) pairs about its subject."""

    title: str
    parts: Sequence[Part]
    facts: Sequence[tuple[str, str]] = field(default_factory=list)


def render(page: Page) -> str:
    """The page as self-contained HTML: styles and pictures are inside, and there are no scripts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmprod.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for kind in (Figure, Change, Trend, Link):
        environment.tests[kind.__name__.lower()] = lambda cell, kind=kind: isinstance(cell, kind)
    environment.filters |= {"cell": _cell, "percent": percent, "points": points}
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template("page.html").render(page=page, made=made)


def save(page: Page, path: Path) -> None:
    """Render to a file, atomically."""
    replace_file(path, render(page))


def percent(share: float) -> str:
    """A share as text, "84.3 %" for .8431, with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: ``points(-0.032) == "−3.2"``."""
    return f"{100 * difference + 0.0:+.1f}".replace("-", "−")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
