"""The index of all evaluations: how the figures have moved, and the way to every report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.report.page import Figure, Headline, Link, Notice, Page, Part, Table, Trend, points
from mmprod.report.review.weeks import measure_plot
from mmprod.report.review.words import glossary, measure_name

_KINDS = ("precision", "P", "AP", "R")  # of measures that are headlines
ENTRIES = 60  # evaluations listed of a survey, newest first


@dataclass(frozen=True)
class Entry:
    """An evaluation in the index.

    name: of the survey. made_at: ISO 8601. link: its report, a file beside the index; "" for none.
    figures: rows of METRIC over all, the estimated ones, by measure. alerts: in words.
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
        """From the figures (METRIC) of an evaluation; `system` is the one that the index follows."""
        mask = pc.and_(pc.equal(metrics["facet"], "all"), pc.equal(metrics["variant"], "pooled"))
        rows = metrics.filter(pc.and_(mask, pc.equal(metrics["system"], system))).to_pylist()
        kinds = {row["measure"]: row["measure"].partition("@")[0] for row in rows}
        shown = {row["measure"]: row for kind in _KINDS for row in rows if kinds[row["measure"]] == kind}
        return cls(name, generation, made_at, link, shown, alerts)

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.made_at)


def index_page(entries: Sequence[Entry]) -> Page:
    """One page about all evaluations of all surveys, in any order: newest figures, curves, links."""
    surveys: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.generation):  # a clock may have been set back
        surveys.setdefault(entry.name, []).append(entry)
    parts = [_survey(name, surveys[name]) for name in sorted(surveys)]
    measures = dict.fromkeys(measure for entry in entries for measure in entry.figures)
    facts = [("surveys", f"{len(surveys):,}"), ("evaluations", f"{len(entries):,}")]
    if len(surveys) > 1:
        parts.insert(0, _overview(surveys))
    return Page("Evaluations", [*parts, Part("Glossary", terms=glossary(measures))], facts)


def _overview(surveys: Mapping[str, Sequence[Entry]]) -> Part:
    """A line a survey: its newest precision and how it came there."""
    rows = []
    for name, entries in sorted(surveys.items()):
        newest = entries[-1]
        for measure, row in list(newest.figures.items())[:1]:
            values = _values(entries, measure)
            trend = Trend(values) if len(values) > 1 else None
            rows.append(
                (
                    name,
                    measure_name(measure),
                    _figure(row),
                    trend,
                    f"{newest.time:%Y-%m-%d}",
                    len(newest.alerts),
                )
            )
    headings = ("survey", "measure", "now", "so far", "figures of", "alerts")
    return Part("All surveys", tables=[Table(headings, rows)])


def _survey(name: str, entries: Sequence[Entry]) -> Part:
    """The newest figures of a survey, their curves, and every evaluation with the way to its report."""
    newest, measures = entries[-1], list(entries[-1].figures)
    rows = [
        (
            Link(_when(entry), entry.link) if entry.link else _when(entry),
            *(_figure(entry.figures.get(measure)) for measure in measures),
            len(entry.alerts),
        )
        for entry in reversed(entries[-ENTRIES:])
    ]
    table = Table(("evaluation", *map(measure_name, measures), "alerts"), rows)
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
            yield Headline(measure_name(measure), figure, note)


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
    from mmprod.report.review.subject import figure_of

    return figure_of(row)


def _when(entry: Entry) -> str:
    return f"{entry.time:%Y-%m-%d %H:%M}"
