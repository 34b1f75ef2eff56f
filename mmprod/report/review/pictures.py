"""The parts of an evaluation's report that show products: errors of systems, contested pairs."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.eval.figures.anchors import anchor_values
from mmprod.report.page import Card, Part, Strip, percent
from mmprod.report.review.subject import Row, Subject

ANCHORS, SEARCHES, CONTESTED = 8, 12, 24
"""The maximum number of each that is shown."""
DEPTH = 10  # ranks shown of a list

MARKS = {True: "right", False: "wrong", None: "open"}
LEGEND = "✓ judged the same, ✗ judged not the same, ? not judged; the number is the score."


class Lists:
    """The first products that systems found for some anchors, with the verdicts on them."""

    def __init__(self, subject: Subject, anchors: Sequence[str]) -> None:
        self.subject = subject
        self.known = {
            (row["anchor_id"], row["product_id"]): subject.judged.same.get(row["pair_id"])
            for row in _of(subject.judged.pairs, anchors).to_pylist()
        }
        found = _of(subject.judged.candidates, anchors)
        found = found.filter(pc.less_equal(found["rank"], DEPTH)).sort_by("rank")
        self.rows: dict[tuple[str, str], list[Row]] = {}
        for row in found.to_pylist():
            self.rows.setdefault((row["system"], row["anchor_id"]), []).append(row)

    def strip(self, system: str, anchor: str, heading: str = "", note: str = "", lead: bool = True) -> Strip:
        """An anchor and what a system found for it."""
        cards = [self._card(anchor, row) for row in self.rows.get((system, anchor), ())]
        return Strip(heading, cards, self.subject.card(anchor) if lead else None, note)

    def _card(self, anchor: str, row: Row) -> Card:
        mark = MARKS[self.known.get((anchor, row["product_id"]))]
        return self.subject.card(row["product_id"], f"{row['score']:.2f}", mark)


def _of(table: pa.Table, anchors: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table["anchor_id"], value_set=pa.array(anchors, pa.string())))


def worst_part(subject: Subject) -> Part | None:
    """The product anchors with the fewest same products among the judged ones."""
    if subject.texts:
        return None
    system = subject.systems[0]
    values = _values(subject, system)
    worst = [name for name, value in values.items() if value < 1][:ANCHORS]
    if not worst:
        return None
    lists, places = Lists(subject, worst), _places(subject)
    strips = [lists.strip(system, name, places[name], _judged(subject, values[name])) for name in worst]
    text = f"The framed product is the anchor, then what {system} found for it, best first. {LEGEND}"
    return Part("Worst anchors", text, strips=strips)


def search_part(subject: Subject) -> Part | None:
    """Texts that were searched for, each with the results of all systems, one below the other."""
    if not subject.texts:
        return None
    weakest = [name for name in _values(subject, subject.systems[0]) if name in subject.texts]
    shown = list(dict.fromkeys([*weakest, *subject.texts]))[:SEARCHES]
    names = " beside ".join(subject.systems)
    text = f"{names}; first the searches that {subject.systems[0]} is weakest at. {LEGEND}"
    return Part("Text searches", text, strips=list(_answers(subject, shown)))


def _answers(subject: Subject, anchors: Sequence[str]) -> Iterator[Strip]:
    lists = Lists(subject, anchors)
    values = {system: _values(subject, system) for system in subject.systems}
    for name in anchors:
        for number, system in enumerate(subject.systems):
            heading = f"“{subject.texts[name]}”" if not number else ""
            value = values[system].get(name)
            note = system if value is None else f"{system} · {_judged(subject, value)}"
            yield lists.strip(system, name, heading, note, lead=False)


def changed_strips(subject: Subject, a: str, b: str, changed: Sequence[Row]) -> Iterator[Strip]:
    """Anchors at which `b` differs from `a` (rows of CHANGED), with both lists, one below the other."""
    lists = Lists(subject, [row["anchor_id"] for row in changed])
    for row in changed:
        word = "Better" if row["difference"] > 0 else "Worse"
        for system, heading, value in ((a, f"{word}: {row['category']}", "value_a"), (b, "", "value_b")):
            yield lists.strip(system, row["anchor_id"], heading, f"{system} · {_judged(subject, row[value])}")


def contested_part(subject: Subject) -> Part | None:
    """Pairs that reviewers answered differently, and who said what."""
    drawn = subject.judged.pairs["pair_id"].combine_chunks()
    contested = subject.tables["contested"]
    contested = contested.filter(pc.is_in(contested["pair_id"], value_set=drawn))
    if not contested.num_rows:
        return None
    rows = contested.slice(0, CONTESTED).to_pylist()
    strips = [
        Strip(
            f"same: {', '.join(row['same'])} · not: {', '.join(row['different'])}",
            [subject.card(row["product_id"], "", MARKS[subject.judged.same.get(row["pair_id"])])],
            subject.card(row["anchor_id"]),
        )
        for row in rows
    ]
    first = f", the first {len(rows)} of them here" if len(rows) < contested.num_rows else ""
    text = (
        f"{contested.num_rows:,} pairs got different answers{first}. ✓ and ✗ are the verdict that counts "
        "now, ? means there is none: an adjudicator's answer decides."
    )
    return Part("Contested pairs", text, strips=strips)


def _judged(subject: Subject, value: float) -> str:
    return f"{subject.ranked.heading} {percent(value)} of the judged"


def _values(subject: Subject, system: str) -> Mapping[str, float]:
    """The value of each anchor on judged products, worst first; ties: most judged products first."""
    found = anchor_values(subject.judged, system, subject.ranked, "judged")
    pool = subject.judged.pool
    known = np.bincount(pool.anchor[pool.verdict >= 0], minlength=subject.judged.anchors.num_rows)
    order = np.lexsort((-known[found.places], found.values))
    return {found.anchor_ids[i]: float(found.values[i]) for i in order.tolist()}


def _places(subject: Subject) -> Mapping[str, str]:
    """Category and sales band of each anchor."""
    rows = subject.judged.anchors.select(["anchor_id", "category", "band"]).to_pylist()
    return {row["anchor_id"]: f"{row['category']} · {row['band']}" for row in rows}
