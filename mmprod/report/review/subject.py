"""An evaluation as its report reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod.eval.figures.judged import Judged
from mmprod.eval.survey.strata import Bands
from mmprod.report.page import Card, Figure
from mmprod.sections import Review
from mmprod.stages.review.evaluation import Evaluated

CardOf = Callable[[str, str, str], Card]
"""A product's card, by product_id, note and mark."""

Row = Mapping[str, Any]
_HEADLINES = ("precision", "P", "AP", "R")


@dataclass(frozen=True)
class Subject:
    """An evaluation, the configuration it was made under, and how a product is shown."""

    evaluated: Evaluated
    review: Review
    card_of: CardOf

    @property
    def judged(self) -> Judged:
        return self.evaluated.judged

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        return self.evaluated.assessment.tables

    @cached_property
    def systems(self) -> tuple[str, ...]:
        """The systems, the one the survey is about first."""
        return tuple(self.evaluated.systems)

    @cached_property
    def metrics(self) -> list[Row]:
        return list(self.tables["metrics"].to_pylist())

    @cached_property
    def measures(self) -> list[str]:
        """The measures that are given in variants, precision first."""
        found = dict.fromkeys(row["measure"] for row in self.metrics if row["variant"] == "pessimistic")
        return sorted(found, key=lambda name: name != "precision")

    @property
    def headlines(self) -> list[str]:
        """Of each kind of measure the first: what is shown large."""
        kinds = {kind: [m for m in self.measures if m.partition("@")[0] == kind] for kind in _HEADLINES}
        return [named[0] for named in kinds.values() if named]

    @property
    def ranked(self) -> str:
        """The measure that anchors are put in order by: the first P@k, or precision."""
        return next((m for m in self.measures if m.startswith("P@")), "precision")

    @cached_property
    def figures(self) -> Mapping[tuple[str, str, str, str, str], Row]:
        """Rows of METRIC by facet, scope, system, measure and variant."""
        names = ("facet", "scope", "system", "measure", "variant")
        return {tuple(row[name] for name in names): row for row in self.metrics}

    def figure(
        self, system: str, measure: str, variant: str = "pooled", facet: str = "all", scope: str = "all"
    ) -> Row | None:
        """One row of METRIC; None where too little is known for that figure."""
        return self.figures.get((facet, scope, system, measure, variant))

    def scopes(self, facet: str) -> list[str]:
        """Categories weakest first; sales bands from the best selling down."""
        names = list(dict.fromkeys(row["scope"] for row in self.metrics if row["facet"] == facet))
        if facet == "sales":
            bands = Bands.of(np.empty(0), self.review.sales_bands).names
            return sorted(names, key=lambda name: bands.index(name) if name in bands else len(bands))
        return sorted(names, key=lambda name: (self._value(facet, name), name))

    def _value(self, facet: str, scope: str) -> float:
        row = self.figure(self.systems[0], "precision", "pooled", facet, scope)
        return row["value"] if row else np.inf

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The anchors that are texts, by id."""
        anchors = self.judged.anchors.select(["anchor_id", "text"]).to_pylist()
        return {row["anchor_id"]: row["text"] for row in anchors if row["text"] is not None}

    def card(self, shown: str, note: str = "", mark: str = "") -> Card:
        """A product's card, or a text's."""
        if shown in self.texts:
            return Card(shown, self.texts[shown], None, note, mark, text=True)
        return self.card_of(shown, note, mark)


def figure_of(row: Row | None) -> Figure | None:
    """A row of METRIC as a bar."""
    return Figure(row["value"], row["low"], row["high"]) if row else None
