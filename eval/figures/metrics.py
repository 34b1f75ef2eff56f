"""All figures of a survey as the METRIC table: by system, category and sales band."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmprod.datasets.schemas import METRIC
from mmprod.eval.estimate import Estimate, Ints
from mmprod.eval.figures.anchors import VARIANTS, anchor_values, parse
from mmprod.eval.figures.judged import UNJUDGED, Frame, Judged

ALL = "all"
"""The scope of the figures over everything."""

Row = dict[str, str | float | int | None]


def figures(judged: Judged, measures: Sequence[str]) -> pa.Table:
    """Every measure of every system, over all, by category and by sales band, in all variants, as METRIC.

    Measures and variants are those of `anchor_values`; low and high the 95 % interval of `estimate.share`;
    n the anchors with a value. Scopes in which no anchor has one are left out. With them goes "judged",
    the share of the systems' products down to the largest cut-off (without one, the pooled depth) that
    have a verdict: a plain count without interval, n the products.
    Raises: InputError as `anchor_values`.
    """
    rows: list[Row] = []
    deepest = max((parse(measure)[1] for measure in measures), default=0) or judged.depth
    for system in judged.systems:
        rows += _coverage(judged, system, deepest)
        for measure in measures:
            for variant in VARIANTS:
                found = anchor_values(judged, system, measure, variant)
                for facet, scope, part in scopes(judged.frame, found.places):
                    rows.append(row(system, facet, scope, measure, variant, found.share(part)))
    return pa.Table.from_pylist(rows, schema=METRIC)


def scopes(frame: Frame, places: Ints) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Facet and name of each scope that has anchors at `places`, and bool[places], which these are."""
    if len(places):
        yield ALL, ALL, np.full(len(places), True)
    for facet, names, codes in (
        ("category", frame.categories, frame.category),
        ("sales", frame.bands, frame.band),
    ):
        for code in np.unique(codes[places]):
            yield facet, names[code], codes[places] == code


def row(system: str, facet: str, scope: str, measure: str, variant: str, found: Estimate) -> Row:
    """A row of METRIC."""
    return {
        "system": system,
        "facet": facet,
        "scope": scope,
        "measure": measure,
        "variant": variant,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
    }


def _coverage(judged: Judged, system: str, k: int) -> Iterator[Row]:
    lists = judged.lists(system)
    top = lists.rank <= k
    for facet, scope, part in scopes(judged.frame, lists.anchor[top]):
        known = (lists.verdict[top] != UNJUDGED)[part]
        found = Estimate(float(known.mean()), np.nan, np.nan, len(known))
        yield row(system, facet, scope, "judged", "", found) | {"low": None, "high": None}
