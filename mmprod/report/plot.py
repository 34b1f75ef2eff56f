"""Curves as SVG, drawn by matplotlib, for self-contained pages."""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from mmprod.datasets.lazy import lazy

dates = lazy("matplotlib.dates")  # slow to import; only curves over time need it

Curve = Sequence[tuple[float, float]]

COLOURS = ("#2563c9", "#d9730d", "#0f7a50", "#9b3fb5", "#bf3127", "#0d8aa6", "#8a6d1f", "#5d6878")
"""Colours of the lines, in turn; they also differ in lightness."""


def curves(panels: Mapping[str, Mapping[str, Curve]], x: str) -> str:
    """Panels side by side, each with its curves by name; `x`: label of the x axis. Returns a data: URL."""
    figure = _canvas(4.2 * len(panels), 2.8)
    for place, (title, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1.4)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(x, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if len(lines) > 1:
            axes.legend(fontsize=8, frameon=False)
    return _address(figure)


def shares(
    lines: Sequence[Sequence[Any]],
    bands: Sequence[Sequence[Any]] = (),
    x: str = "",
    wanted: Sequence[float] = (),
) -> str:
    """Plot shares in [0, 1], in percent, over numbers or times. Returns a data: URL.

    Each line is (xs, ys); each of `bands` is the (lows, highs) of a line's interval; `wanted` are shares
    marked by horizontal lines. Lines take COLOURS in turn. Their names belong in the page, as the plot's font
    does not cover all scripts.
    """
    figure = _canvas(5.2, 2.7)
    axes = figure.add_subplot()
    for number, (xs, ys) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(xs, ys, color=colour, linewidth=1.8, marker="o" if len(xs) < 30 else "", markersize=3.5)
        if bands:
            axes.fill_between(xs, *bands[number], color=colour, alpha=0.13, linewidth=0)
    for share in wanted:
        axes.axhline(share, color="#5d6878", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(*_span(lines, bands, wanted))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set_xlabel(x, fontsize=9)
    axes.tick_params(labelsize=9, color="#aab2bf")
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    if isinstance(lines[0][0][0], datetime):
        _date(axes)
    return _address(figure)


def _date(axes: Axes) -> None:
    locator = dates.AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _span(
    lines: Sequence[Sequence[Any]], bands: Sequence[Sequence[Any]], wanted: Sequence[float]
) -> tuple[float, float]:
    """From a tenth below the lowest share to just over the highest, within 0 and 1."""
    shown = [share for line in lines for share in line[1]] + [
        share for band in bands for ends in band for share in ends
    ]
    low, high = min((*shown, *wanted)), max((*shown, *wanted))
    return max(-0.01, low - 0.1), min(1.01, high + 0.05)


def _canvas(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _address(figure: Figure) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode()}"
