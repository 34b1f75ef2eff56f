"""Paired comparison of two systems on the anchors and verdicts they share."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod.datasets.schemas import FACETS
from mmprod.eval.estimate import Floats, Ints, mean
from mmprod.eval.figures.anchors import anchor_values
from mmprod.eval.figures.metrics import scopes
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import Sample
from mmprod.eval.measures.measure import VARIANTS, Measure
from mmprod.eval.significance import holm, sign_flip
from mmprod.storage.errors import InputError

logger = logging.getLogger(__name__)

Row = dict[str, object]

DIFFERENCE = pa.schema(
    [
        pa.field("facet", pa.string(), nullable=False),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),  # how unjudged products count
        pa.field("a", pa.string(), nullable=False),
        pa.field("b", pa.string(), nullable=False),
        pa.field("value_a", pa.float64(), nullable=False),  # over the shared anchors
        pa.field("value_b", pa.float64(), nullable=False),
        pa.field("difference", pa.float64(), nullable=False),  # value_b - value_a
        pa.field("low", pa.float64()),  # 95 % interval, null for too few anchors, and if no anchor differs
        pa.field("high", pa.float64()),
        pa.field("p", pa.float64(), nullable=False),  # of the sign-flip test
        pa.field("p_adjusted", pa.float64(), nullable=False),  # by Holm, over the scopes of the facet
        pa.field("n", pa.int64(), nullable=False),  # shared anchors
    ]
)

CHANGED = pa.schema(
    [
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("band", pa.string(), nullable=False),
        pa.field("value_a", pa.float64(), nullable=False),
        pa.field("value_b", pa.float64(), nullable=False),
        pa.field("difference", pa.float64(), nullable=False),  # value_b - value_a, never 0
    ]
)

GAIN = pa.schema(
    [
        pa.field("scope", pa.string(), nullable=False),  # a category
        pa.field("measure", pa.string(), nullable=False),
        pa.field("difference", pa.float64(), nullable=False),
        pa.field("exchange", pa.float64(), nullable=False),  # business figure gained per 1 of difference
        pa.field("gain", pa.float64(), nullable=False),  # difference times exchange
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)


def compare(
    judged: Judged, a: str, b: str, measures: Sequence[Measure], variant: str = "pooled", seed: int = 0
) -> pa.Table:
    """How much better `b` is than `a`, overall, by category and by sales band, as DIFFERENCE.

    The systems are compared at the `n` anchors where both have a value (see `anchor_values`). Measures
    without the variant are skipped and logged. The interval is the paired, stratified t interval of
    `estimate.mean`; the test is `sign_flip`. Both refer to anchors of this kind in general, not only to this
    catalogue: there is no finite population correction, so the interval is wider than those of the figures
    if most anchors of a stratum were drawn. p_adjusted is Holm's (Scand. J. Statist. 6, 1979) over the
    scopes of a facet, for each measure separately; it does not correct for several measures.
    `Precision` is a ratio and is compared by its linearised values, so its test is valid for larger samples
    only. Sales bands and categories share anchors with each other and with "all".

    Raises: InputError for an unknown system or variant, a cut-off beyond the pooled depth, and if a and b
    are the same.
    """
    if a == b:
        raise InputError(f"a comparison needs two systems, both are {a!r}")
    rows: list[Row] = []
    for measure in measures:
        if variant in VARIANTS and variant not in measure.variants:
            logger.warning("%s has no %s value, so it is not compared", measure, variant)
            continue
        found = _adjusted(list(_differences(_paired(judged, a, b, measure, variant), judged.sample, seed)))
        names = {"measure": measure.name, "variant": variant, "a": a, "b": b}
        rows += [row | names for row in found]
    return pa.Table.from_pylist(rows, schema=DIFFERENCE)


def changed(judged: Judged, a: str, b: str, measure: Measure, variant: str = "pooled") -> pa.Table:
    """The anchors at which `measure` differs, as CHANGED, from most improved by `b` to most worsened.

    Ties are in order of anchor_id. Raises: InputError as `compare`.
    """
    found = _paired(judged, a, b, measure, variant)
    sample = judged.sample
    rows: list[Row] = []
    for i in np.flatnonzero(found.a != found.b):
        place, before, after = found.places[i], float(found.a[i]), float(found.b[i])
        row: Row = {"anchor_id": sample.ids[place], "value_a": before, "value_b": after}
        row |= {
            "category": sample.categories[sample.category[place]],
            "band": sample.bands[sample.band[place]],
        }
        rows.append(row | {"difference": after - before})
    table = pa.Table.from_pylist(rows, schema=CHANGED)
    return table.sort_by([("difference", "descending"), ("anchor_id", "ascending")])


def business_gain(differences: pa.Table, exchange: Mapping[str, float]) -> pa.Table:
    """The value of differences by category in a business figure, as GAIN, in the order of `differences`.

    `exchange`: by category, how much that figure rose per difference of 1 in earlier releases. Categories
    without a rate are left out; rates without a difference are logged. The interval is the difference's times
    the rate, which is treated as exact.
    """
    rows = [row for row in differences.to_pylist() if row["facet"] == "category"]
    for name in sorted(exchange.keys() - {row["scope"] for row in rows}):
        logger.warning("there is an exchange rate for %r, but no difference for that category", name)
    gains = [_gain(row, exchange[row["scope"]]) for row in rows if row["scope"] in exchange]
    return pa.Table.from_pylist(gains, schema=GAIN)


@dataclass(frozen=True)
class _Paired:
    """A measure of both systems at the anchors that have both values; arrays as in `AnchorValues`."""

    places: Ints
    strata: Ints
    weights: Floats
    a: Floats
    b: Floats
    sizes_a: Floats
    sizes_b: Floats


def _paired(judged: Judged, a: str, b: str, measure: Measure, variant: str) -> _Paired:
    one, other = (anchor_values(judged, system, measure, variant) for system in (a, b))
    places, i, j = np.intersect1d(one.places, other.places, assume_unique=True, return_indices=True)
    return _Paired(
        places, one.strata[i], one.weights[i], one.values[i], other.values[j], one.sizes[i], other.sizes[j]
    )


def _differences(found: _Paired, sample: Sample, seed: int) -> Iterator[Row]:
    """One row for each scope that has shared anchors."""
    endless = np.full(len(found.places), np.inf)
    for facet, scope, part in scopes(sample, found.places):
        weights = found.weights[part]
        value_a, each_a = _linearised(found.a[part], found.sizes_a[part], weights)
        value_b, each_b = _linearised(found.b[part], found.sizes_b[part], weights)
        each = each_b - each_a
        spread = mean(each, weights, found.places[part], found.strata[part], endless[part])
        low, high = spread.interval if spread.freedom and spread.error else (None, None)
        yield {
            "facet": facet,
            "scope": scope,
            "value_a": value_a,
            "value_b": value_b,
            "difference": value_b - value_a,
            "low": low,
            "high": high,
            "p": sign_flip(weights * each, seed),
            "n": len(each),
        }


def _linearised(values: Floats, sizes: Floats, weights: Floats) -> tuple[float, Floats]:
    """The figure Σ w s v / Σ w s, and values for the anchors whose mean weighted by w is that figure.

    The values are v if all sizes are 1, else figure + s (v - figure) Σw / Σ w s (Taylor linearisation:
    Särndal et al. 1992, 5.5), whose variance is the figure's. Without any products the figure is 0, as for
    P@k.
    """
    total = float(weights @ sizes)
    if not total:
        return 0.0, np.zeros(len(values))
    figure = float((weights * sizes) @ values) / total
    return figure, figure + sizes * (values - figure) * (float(weights.sum()) / total)


def _adjusted(rows: list[Row]) -> list[Row]:
    """The rows with p_adjusted, computed by facet."""
    done: list[Row] = []
    for facet in FACETS:
        part = [row for row in rows if row["facet"] == facet]
        adjusted = holm([float(str(row["p"])) for row in part])
        done += [row | {"p_adjusted": p} for row, p in zip(part, adjusted, strict=True)]
    return done


def _gain(row: Mapping[str, Any], rate: float) -> Row:
    bounds = sorted(row[name] * rate for name in ("low", "high") if row[name] is not None)
    return {
        "scope": row["scope"],
        "measure": row["measure"],
        "difference": row["difference"],
        "exchange": rate,
        "gain": row["difference"] * rate,
        "low": bounds[0] if bounds else None,
        "high": bounds[-1] if bounds else None,
    }
