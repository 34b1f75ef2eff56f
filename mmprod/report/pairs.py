"""A page for checking the rules for pairs: examples of rejected products for every reason."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.pairs.options import Quality
from mmprod.datasets.pairs.quality import PICTURE_RULES, TITLE_RULES
from mmprod.datasets.store.store import Store
from mmprod.report.card import card
from mmprod.report.page import Card, Figure, Page, Part, Strip, Table
from mmprod.sections import Config
from mmprod.stages.training.pairs import Selected

SHOWN = 12
_BOUNDS = TITLE_RULES | PICTURE_RULES


def pairs_page(store: Store, config: Config, selected: Selected) -> Page:
    """Counts of kept and rejected products, with up to `SHOWN` examples of each reason and of the pairs."""
    quality = config.pairs.quality
    reasons = [_reason(store, quality, selected.rejected, name) for name in selected.reasons]
    text = (
        "A product is rejected for the first rule it breaks. Ordered from the mildest case, whose value is "
        "nearest to the bound, to the worst. If there are good products among them, change the bound."
    )
    kept = [Strip(name, _kept(store, selected.pairs, name)) for name, n in selected.splits.items() if n]
    parts = [
        Part("Counts", tables=[_counts(selected, quality)]),
        Part("Rejected", text if reasons else "Nothing was rejected.", strips=reasons),
        Part("Kept", "Pairs drawn evenly from all kept pairs.", strips=kept),
    ]
    facts = [("live products", f"{selected.considered:,}"), ("kept", f"{len(selected.pairs):,}")]
    return Page("Training pairs", parts, [*facts, ("rejected", f"{len(selected.rejected):,}")])


def _counts(selected: Selected, quality: Quality) -> Table:
    everything = max(1, selected.considered)
    counts = [(f"kept: {name}", "", count) for name, count in selected.splits.items()]
    counts += [(name, _bound(name, quality), count) for name, count in selected.reasons.items()]
    rows = [(name, bound, count, Figure(count / everything)) for name, bound, count in counts]
    return Table(("", "rule", "products", "share"), rows)


def _bound(reason: str, quality: Quality) -> str:
    name = _BOUNDS.get(reason)
    return f"{name} = {getattr(quality, name):g}" if name else ""


def _reason(store: Store, quality: Quality, rejected: pa.Table, reason: str) -> Strip:
    """Examples of a reason, from the mildest to the worst."""
    rows = rejected.filter(pc.equal(rejected["reason"], reason))
    falling = _BOUNDS.get(reason, "").startswith("min")
    rows = rows.sort_by([("value", "descending" if falling else "ascending")])
    shown = rows.take(_evenly(len(rows))).to_pylist()
    cards = [card(store, row["product_id"], _value(row["value"])) for row in shown]
    return Strip(f"{reason}: {len(rows):,}", cards, note=_bound(reason, quality))


def _kept(store: Store, pairs: pa.Table, split: str) -> list[Card]:
    names = pairs.filter(pc.equal(pairs["split"], split))["product_id"].to_pylist()
    return [card(store, names[row]) for row in _evenly(len(names))]


def _evenly(count: int) -> list[int]:
    """Up to `SHOWN` indices of `count`, evenly spread from the first to the last."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, SHOWN))})


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
