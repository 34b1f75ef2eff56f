"""The index page of all evaluations: figures over time, and links to every report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.eval.measures.named import MEASURES, find
from mmprod.report.page import Figure, Headline, Link, Notice, Page, Part, Table, Trend, points
from mmprod.report.review.subject import figure_of
from mmprod.report.review.weeks import measure_plot
from mmprod.report.review.words import figure_name, glossary

ENTRIES = 60  # evaluations listed per survey, newest first


@dataclass(frozen=True)
class Entry:
    """An evaluation in the index.

    `name`: the survey. `made_at`: ISO 8601. `link`: its report, a file beside the index; "" if there is none.
    `figures`: the overall estimates by measure, as rows of METRIC. `alerts`: sentences.
    """

    name: str
    generation: str
    made_at: str
    link: str
    figures: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    alerts: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        name: str,
        generation: str,
        made_at: str,
        link: str,
        metrics: pa.Table,
        system: str,
        alerts: Sequence[str] = (),
    ) -> "Entry":
        """From the figures (METRIC) of an evaluation; `system`: the system shown in the index."""
        mask = pc.and_(pc.equal(metrics["facet"], "all"), pc.equal(metrics["variant"], "pooled"))
        rows = metrics.filter(pc.and_(mask, pc.equal(metrics["system"], system))).to_pylist()
        figures = {row["measure"]: row for row in rows}
        shown = [each for each in MEASURES if each.headline]
        order = [key for each in shown for key in figures if isinstance(find(key), each)]
        return cls(name, generation, made_at, link, {key: figures[key] for key in order}, alerts)

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.made_at)


def index_page(entries: Sequence[Entry]) -> Page:
    """The index page of `entries`, given in any order: newest figures, curves, links."""
    surveys: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.generation):  # a clock may have been set back
        surveys.setdefault(entry.name, []).append(entry)
    parts = [_survey(name, surveys[name]) for name in sorted(surveys)]
    measures = dict.fromkeys(find(name) for entry in entries for name in entry.figures)
    facts = [("surveys", f"{len(surveys):,}"), ("evaluations", f"{len(entries):,}")]
    if len(surveys) > 1:
        parts.insert(0, _overview(surveys))
    return Page("Evaluations", [*parts, Part("Glossary", terms=glossary(filter(None, measures)))], facts)


def _overview(surveys: Mapping[str, Sequence[Entry]]) -> Part:
    """One row per survey: its newest precision, and its trend."""
    rows = []
    for name, entries in sorted(surveys.items()):
        newest = entries[-1]
        for measure, row in list(newest.figures.items())[:1]:
            values = _values(entries, measure)
            trend = Trend(values) if len(values) > 1 else None
            rows.append(
                (
                    name,
                    figure_name(measure),
                    _figure(row),
                    trend,
                    f"{newest.time:%Y-%m-%d}",
                    len(newest.alerts),
                )
            )
    headings = ("survey", "measure", "now", "so far", "figures of", "alerts")
    return Part("All surveys", tables=[Table(headings, rows)])


def _survey(name: str, entries: Sequence[Entry]) -> Part:
    """The newest figures of a survey, their curves, and every evaluation with a link to its report."""
    newest, measures = entries[-1], list(entries[-1].figures)
    rows = [
        (
            Link(_when(entry), entry.link) if entry.link else _when(entry),
            *(_figure(entry.figures.get(measure)) for measure in measures),
            len(entry.alerts),
        )
        for entry in reversed(entries[-ENTRIES:])
    ]
    table = Table(("evaluation", *map(figure_name, measures), "alerts"), rows)
    return Part(
        name,
        f"The newest figures, of {_when(newest)}.",
        [table],
        plots=[
            plot
            for measure in measures
            if (plot := measure_plot(measure, [name], _curve(name, entries, measure)))
        ],
        notices=[Notice(f"Alert: {text}", "bad") for text in newest.alerts],
        headlines=[("", list(_headlines(entries)))],
    )


def _headlines(entries: Sequence[Entry]) -> Iterator[Headline]:
    for measure, row in entries[-1].figures.items():
        values, figure = _values(entries, measure), _figure(row)
        note = f"{points(values[-1] - values[-2])} points since the last time" if len(values) > 1 else ""
        if figure:
            yield Headline(figure_name(measure), figure, note)


def _curve(name: str, entries: Sequence[Entry], measure: str) -> list[Mapping[str, object]]:
    return [
        {**entry.figures[measure], "system": name, "made_at": entry.time}
        for entry in entries
        if measure in entry.figures
    ]


def _values(entries: Sequence[Entry], measure: str) -> list[float]:
    found = [entry.figures[measure]["value"] for entry in entries if measure in entry.figures]
    return [value for value in found if isinstance(value, float)]


def _figure(row: Mapping[str, object] | None) -> Figure | None:
    return figure_of(row)


def _when(entry: Entry) -> str:
    return f"{entry.time:%Y-%m-%d %H:%M}"
