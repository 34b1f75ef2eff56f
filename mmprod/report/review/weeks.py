"""Figures over time, for the report of an evaluation and for the index of all of them."""

from collections.abc import Sequence
from datetime import datetime

import pyarrow.compute as pc

from mmprod.report.page import Part, Plot, Table, Trend, points
from mmprod.report.plot import COLOURS, shares
from mmprod.report.review.subject import PRECISION, Row, Subject, figure_of
from mmprod.report.review.words import figure_name


def history_part(subject: Subject) -> Part | None:
    """Curves of the headline figures over all evaluations so far, and each category's own."""
    history = subject.evaluated.history
    if len(history["made_at"].unique()) < 2:
        return None
    rows = history.filter(pc.equal(history["variant"], "pooled")).to_pylist()
    whole = [row for row in rows if row["facet"] == "all"]
    systems = list(dict.fromkeys([*subject.systems, *(row["system"] for row in whole)]))
    plots = [
        plot
        for measure in subject.headlines
        if (plot := measure_plot(measure.name, systems, _of(measure.name, whole)))
    ]
    table = _trends(subject, rows)
    text = "Every evaluation of this survey so far; the shade is the 95 % interval."
    return Part("Over time", text, [table] if table.rows else [], plots=plots)


def _of(measure: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["measure"] == measure]


def measure_plot(measure: str, systems: Sequence[str], rows: Sequence[Row]) -> Plot | None:
    """A measure over time, one line per system with at least two points; `rows`: HISTORY, oldest first."""
    lines = {name: [row for row in rows if row["system"] == name] for name in systems}
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    drawn = [([_day(row) for row in points], [row["value"] for row in points]) for points in lines.values()]
    bands = [
        tuple([row["value"] if row[end] is None else row[end] for row in points] for end in ("low", "high"))
        for points in lines.values()
    ]
    legend = [(COLOURS[number % len(COLOURS)], name) for number, name in enumerate(lines)]
    return Plot(shares(drawn, bands), figure_name(measure), legend if len(lines) > 1 else ())


def _day(row: Row) -> datetime:
    made_at: datetime = row["made_at"]
    return made_at.replace(tzinfo=None)


def _trends(subject: Subject, rows: Sequence[Row]) -> Table:
    """Precision of the first system by category: at first, now, and the trend."""
    cells = []
    for scope in subject.scopes("category"):
        own = [
            row
            for row in rows
            if (row["system"], row["facet"], row["scope"], row["measure"])
            == (subject.systems[0], "category", scope, PRECISION.name)
        ]
        if len(own) > 1:
            change = f"{points(own[-1]['value'] - own[-2]['value'])} points"
            cells.append((scope, Trend([row["value"] for row in own]), figure_of(own[-1]), change))
    title = f"precision of {subject.systems[0]} by category"
    return Table(("category", "so far", "now", "since the last time"), cells, title=title)
