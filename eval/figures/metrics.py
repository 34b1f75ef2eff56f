"""All figures of a survey as the METRIC table: by system, category and sales band."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmprod.datasets.schemas import METRIC
from mmprod.eval.estimate import Estimate, Ints
from mmprod.eval.figures.anchors import anchor_values
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import UNJUDGED, Sample
from mmprod.eval.measures.measure import Measure

ALL = "all"
"""The scope of overall figures."""

Row = dict[str, str | float | int | None]


def figures(judged: Judged, measures: Sequence[Measure]) -> pa.Table:
    """Every measure of every system, overall, by category and by sales band, as METRIC.

    Each measure is computed in all its variants (see `anchor_values`); low and high are the 95 % interval of
    `estimate.share`, n is the number of anchors with a value. Scopes without such an anchor are left out. The
    additional figure "judged" is the share of a system's products down to `covered_depth` that have a
    verdict: an unweighted count without interval, with n the number of products.
    Raises: InputError as `anchor_values`.
    """
    rows: list[Row] = []
    deepest = covered_depth(judged, measures)
    for system in judged.systems:
        rows += _coverage(judged, system, deepest)
        for measure in measures:
            for variant in measure.variants:
                found = anchor_values(judged, system, measure, variant)
                for facet, scope, part in scopes(judged.sample, found.places):
                    rows.append(row(system, facet, scope, measure.name, variant, found.share(part)))
    return pa.Table.from_pylist(rows, schema=METRIC)


def covered_depth(judged: Judged, measures: Sequence[Measure]) -> int:
    """The last rank of the figure "judged": the largest cut-off, or the pooled depth if there is none."""
    return max((measure.cutoff or 0 for measure in measures), default=0) or judged.depth


def scopes(sample: Sample, places: Ints) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Facet and name of each scope that has anchors at `places`, with a mask bool[places] of them."""
    if len(places):
        yield ALL, ALL, np.full(len(places), True)
    for facet, names, codes in (
        ("category", sample.categories, sample.category),
        ("sales", sample.bands, sample.band),
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
    for facet, scope, part in scopes(judged.sample, lists.anchor[top]):
        known = (lists.verdict[top] != UNJUDGED)[part]
        found = Estimate(float(known.mean()), np.nan, np.nan, len(known))
        yield row(system, facet, scope, "judged", "", found) | {"low": None, "high": None}
