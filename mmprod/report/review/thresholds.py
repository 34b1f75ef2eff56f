"""The part of an evaluation's report about scores: precision and recall above a score."""

import numpy as np

from mmprod.eval.figures.thresholds import curve
from mmprod.report.page import Part, Plot, Table, percent
from mmprod.report.plot import COLOURS, shares
from mmprod.report.review.subject import Row, Subject

POINTS = 200  # per curve
HEADINGS = ("category", "wanted", "score at least", "precision", "lower bound", "same found", "pairs")


def threshold_part(subject: Subject) -> Part | None:
    """Curves of precision and recall over the score, and the thresholds for the wanted precisions."""
    plots = [plot for system in subject.systems if (plot := _plot(subject, system))]
    if not plots:
        return None
    rows = subject.tables["thresholds"].to_pylist()
    tables = []
    for system in subject.systems:
        own = [_row(row) for row in rows if row["system"] == system]
        tables.append(Table(HEADINGS, own, title=system, folded=system != subject.systems[0]))
    text = (
        "How precise are the products above a score, and how many of the same products are among them? "
        "Dashed: the wanted precisions. The lower bound is that of the precision's 95 % interval: if a "
        "precision must be guaranteed, choose the threshold by it."
    )
    return Part("Score thresholds", text, [table for table in tables if table.rows], plots=plots)


def _plot(subject: Subject, system: str) -> Plot | None:
    scores, precision, recall = curve(subject.judged, system)
    if len(scores) < 2:
        return None
    taken = np.unique(np.linspace(0, len(scores) - 1, POINTS).round().astype(int))
    lines = [(scores[taken], precision[taken]), (scores[taken], recall[taken])]
    drawing = shares(lines, x="score at least", wanted=subject.review.wanted_precision)
    return Plot(drawing, system, list(zip(COLOURS, ("precision", "same products found"), strict=False)))


def _row(row: Row) -> tuple[object, ...]:
    name = "everything" if row["category"] == "all" else row["category"]
    if row["threshold"] is None:
        return (name, percent(row["wanted"]), "not reached", None, None, None, None)
    return (
        name,
        percent(row["wanted"]),
        f"{row['threshold']:.3f}",
        percent(row["precision"]),
        percent(row["low"]),
        percent(row["recall"]),
        row["n"],
    )
