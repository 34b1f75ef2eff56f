"""An evaluation, prepared for its report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod.eval.judged import Judged
from mmprod.eval.measures.measure import Measure
from mmprod.eval.measures.named import MEASURES, parse
from mmprod.eval.measures.precision import Precision
from mmprod.eval.measures.precision_at_k import PrecisionAtK
from mmprod.eval.survey.strata import Bands
from mmprod.report.page import Card, Figure
from mmprod.sections import Review
from mmprod.stages.review.evaluation import Evaluated

CardOf = Callable[[str, str, str], Card]
"""A product's card, by product_id, note and mark."""

Row = Mapping[str, Any]
PRECISION = Precision()


@dataclass(frozen=True)
class Subject:
    """An evaluation, its configuration, and a function that returns a product's card."""

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
        """The systems, the survey's main one first."""
        return tuple(self.evaluated.systems)

    @cached_property
    def metrics(self) -> list[Row]:
        return list(self.tables["metrics"].to_pylist())

    @cached_property
    def measures(self) -> list[Measure]:
        """The measures that have variants, precision first."""
        found = dict.fromkeys(row["measure"] for row in self.metrics if row["variant"] == "pessimistic")
        return sorted(map(parse, found), key=lambda measure: measure != PRECISION)

    @property
    def headlines(self) -> list[Measure]:
        """The measures shown large: the first of each headline kind."""
        shown = (kind for kind in MEASURES if kind.headline)
        kinds = [[measure for measure in self.measures if isinstance(measure, kind)] for kind in shown]
        return [alike[0] for alike in kinds if alike]

    @property
    def ranked(self) -> Measure:
        """The measure by which anchors are ordered: the first P@k, or precision."""
        return next((m for m in self.measures if isinstance(m, PrecisionAtK)), PRECISION)

    @cached_property
    def figures(self) -> Mapping[tuple[str, str, str, str, str], Row]:
        """Rows of METRIC by facet, scope, system, measure and variant."""
        names = ("facet", "scope", "system", "measure", "variant")
        return {tuple(row[name] for name in names): row for row in self.metrics}

    def figure(
        self, system: str, measure: str, variant: str = "pooled", facet: str = "all", scope: str = "all"
    ) -> Row | None:
        """One row of METRIC; None if there were too few judgements for that figure."""
        return self.figures.get((facet, scope, system, measure, variant))

    def scopes(self, facet: str) -> list[str]:
        """Categories weakest first; sales bands from the best selling down."""
        names = list(dict.fromkeys(row["scope"] for row in self.metrics if row["facet"] == facet))
        if facet == "sales":
            bands = Bands.of(np.empty(0), self.review.sales_bands).names
            return sorted(names, key=lambda name: bands.index(name) if name in bands else len(bands))
        return sorted(names, key=lambda name: (self._value(facet, name), name))

    def _value(self, facet: str, scope: str) -> float:
        row = self.figure(self.systems[0], PRECISION.name, "pooled", facet, scope)
        return row["value"] if row else np.inf

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The anchors that are texts, by id."""
        anchors = self.judged.anchors.select(["anchor_id", "text"]).to_pylist()
        return {row["anchor_id"]: row["text"] for row in anchors if row["text"] is not None}

    def card(self, shown: str, note: str = "", mark: str = "") -> Card:
        """The card of a product or a text."""
        if shown in self.texts:
            return Card(shown, self.texts[shown], None, note, mark, text=True)
        return self.card_of(shown, note, mark)


def figure_of(row: Row | None) -> Figure | None:
    """A row of METRIC as a bar."""
    return Figure(row["value"], row["low"], row["high"]) if row else None
