"""The parts of an evaluation's report that compare systems."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.eval.compare.paired import business_gain, changed
from mmprod.report.page import Change, Part, Strip, Table, percent, points
from mmprod.report.review.pictures import changed_strips
from mmprod.report.review.subject import PRECISION, Row, Subject
from mmprod.report.review.words import chance, figure_name

EXAMPLES = 3  # of anchors that got better, and of those that got worse
GAIN = ("systems", "category", "measure", "difference, points", "exchange", "gain, points", "95 % interval")


def comparison_parts(subject: Subject) -> Iterator[Part]:
    """A part for each comparison of two systems."""
    for (a, b), rows in _comparisons(subject).items():
        whole = [(figure_name(row["measure"]), row) for row in rows if row["facet"] == "all"]
        tables = [_table(["measure"], whole, a, b)]
        for facet in ("category", "sales"):
            if len(subject.scopes(facet)) > 1:
                named = _by_scope(subject, facet, rows)
                tables.append(_table(["measure", facet], named, a, b, f"By {facet}"))
        text = (
            f"Both systems on the anchors they share, anchor by anchor. Bars to the right: {b} is better; "
            "to the left: it is worse. Differences are in percentage points, with 95 % intervals."
        )
        yield Part(f"{b} against {a}", text, tables, list(_examples(subject, a, b)))


def verdicts(subject: Subject) -> Iterator[str]:
    """A sentence about each comparison of two systems, by precision."""
    for rows in _comparisons(subject).values():
        yield from (
            _sentence(row) for row in rows if (row["facet"], row["measure"]) == ("all", PRECISION.name)
        )


def _comparisons(subject: Subject) -> Mapping[tuple[str, str], list[Row]]:
    """The rows of DIFFERENCE by their two systems."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in subject.tables["differences"].to_pylist():
        found.setdefault((row["a"], row["b"]), []).append(row)
    return found


def _sentence(row: Row) -> str:
    """A difference as a sentence."""
    name, size = figure_name(row["measure"]), f"{100 * abs(row['difference']):.1f} points"
    ahead, behind = (row["b"], row["a"]) if row["difference"] >= 0 else (row["a"], row["b"])
    if not row["difference"]:
        return f"{ahead} and {behind} are level in {name}."
    return f"{ahead} is ahead of {behind} by {size} in {name}: {chance(row['p_adjusted'])}."


def _by_scope(subject: Subject, facet: str, rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The headline measures' rows of a facet, each with the measure's name, in the order of the report."""
    found = {(row["measure"], row["scope"]): row for row in rows if row["facet"] == facet}
    return [
        (measure.heading, row)
        for measure in subject.headlines
        for scope in subject.scopes(facet)
        if (row := found.get((measure.name, scope)))
    ]


def _table(first: Sequence[str], named: Sequence[tuple[str, Row]], a: str, b: str, title: str = "") -> Table:
    bounds = [abs(row[n]) for _, row in named for n in ("difference", "low", "high") if row[n] is not None]
    span = max(0.01, min(1.0, max(bounds, default=1.0)))
    rows = [
        (
            *(name, row["scope"])[: len(first)],
            percent(row["value_a"]),
            percent(row["value_b"]),
            Change(row["difference"], row["low"], row["high"], span),
            chance(row["p_adjusted"]),
            row["n"],
        )
        for name, row in named
    ]
    return Table((*first, a, b, "difference", "chance?", "anchors"), rows, title=title, folded=bool(title))


def _examples(subject: Subject, a: str, b: str) -> Iterator[Strip]:
    """The anchors with the largest differences in both directions."""
    rows = changed(subject.judged, a, b, subject.ranked, "judged").to_pylist()
    better = [row for row in rows if row["difference"] > 0][:EXAMPLES]
    worse = [row for row in reversed(rows) if row["difference"] < 0][:EXAMPLES]
    return changed_strips(subject, a, b, [*better, *worse])


def gain_part(subject: Subject) -> Part | None:
    """The business value of the differences, by the configured exchange rates."""
    rows, shown = [], {measure.name for measure in subject.headlines}
    for pair in _comparisons(subject):
        table = _only(subject.tables["differences"], *pair)
        known = set(table.filter(pc.equal(table["facet"], "category"))["scope"].to_pylist())
        rates = {name: rate for name, rate in subject.review.exchange.items() if name in known}
        found = [row for row in business_gain(table, rates).to_pylist() if row["measure"] in shown]
        rows += [_gain(" against ".join(pair[::-1]), row) for row in found]
    if not rows:
        return None
    text = (
        "What the differences above would be worth in the business figure, assuming the relation seen in "
        "earlier releases: the exchange is how many points of it came with each point of a measure."
    )
    return Part("What it is worth", text, tables=[Table(GAIN, rows)])


def _only(differences: pa.Table, a: str, b: str) -> pa.Table:
    return differences.filter(pc.and_(pc.equal(differences["a"], a), pc.equal(differences["b"], b)))


def _gain(systems: str, row: Row) -> tuple[object, ...]:
    interval = "–" if row["low"] is None else f"{points(row['low'])} to {points(row['high'])}"
    return (
        systems,
        row["scope"],
        figure_name(row["measure"]),
        points(row["difference"]),
        f"{row['exchange']:g}",
        points(row["gain"]),
        interval,
    )
