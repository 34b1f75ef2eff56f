"""Figures with their intervals, over everything and by category, as the METRIC table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmprod.datasets.errors import InputError
from mmprod.datasets.schemas import METRIC, PAIR, check
from mmprod.eval.intervals import bootstrap_mean, effective_size, wilson
from mmprod.eval.runs import Scores, evaluate_run, parse_measure, ranked_run

ALL = "all"

_Figure = dict[str, str | float | int | None]
_T = TypeVar("_T")


def metric_table(
    scores: Scores, category_of: Mapping[str, str], seed: int, weight_of: Mapping[str, float] | None = None
) -> pa.Table:
    """The mean of each measure over all queries and over those of each category, as METRIC.

    `category_of` names the category of every query, `weight_of` its sampling weight (1 where none is
    given). low and high are the 95 % bootstrap interval over queries, null for a single query.
    Raises: InputError for a query that has no category or weight, and for a category called "all".
    """
    weights = np.array([_of(query, weight_of, "weight") if weight_of else 1.0 for query in scores.queries])
    if not (weights > 0).all():
        raise InputError(
            f"query {scores.queries[int(weights.argmin())]!r} weighs {weights.min()}, want more than 0"
        )
    rows: list[_Figure] = []
    for scope, places in _scopes([_of(query, category_of, "category") for query in scores.queries]):
        for measure, values in scores.values.items():
            part, weight = values[places], weights[places]
            value = float(np.average(part, weights=weight))
            low, high = bootstrap_mean(part, weight, seed) if len(part) > 1 else (None, None)
            rows.append(_figure(scope, measure, value, low, high, len(part)))
    return pa.Table.from_pylist(rows, schema=METRIC)


def pair_precision(pairs: pa.Table, same: Mapping[str, bool]) -> pa.Table:
    """The share of judged pairs that are the same, over all and by stratum, as METRIC "precision".

    `pairs` is the sample that was asked about (PAIR), `same` the verdict by pair_id; pairs without one
    are left out. Weighted by the pairs' sampling weights, so that "all" estimates the share over the
    whole recall table's top ranks although small categories are asked about more. low and high are
    Wilson's interval at the effective sample size (pairs of one anchor aren't independent); n the pairs.
    The anchors count as drawn from an endless catalogue: wide where most of a stratum was asked about.
    Raises: InputError when no pair is judged, for other columns, and for a stratum called "all".
    """
    check(pairs, PAIR, "pairs")
    names = pairs.column("pair_id").to_pylist()
    judged = pairs.filter(pa.array([name in same for name in names], pa.bool_()))
    if not judged.num_rows:
        raise InputError(f"none of {pairs.num_rows} pairs is judged ({len(same)} verdicts on other pairs)")
    hits = np.array([same[name] for name in names if name in same], np.float64)
    weights = judged.column("weight").to_numpy()
    anchors = judged.column("anchor_id").dictionary_encode().combine_chunks().indices.to_numpy()
    rows = []
    for scope, places in _scopes(judged.column("stratum").to_pylist()):
        part, weight = hits[places], weights[places]
        value = float(np.average(part, weights=weight))
        low, high = wilson(value, effective_size(part, weight, anchors[places]))
        rows.append(_figure(scope, "precision", value, low, high, len(part)))
    return pa.Table.from_pylist(rows, schema=METRIC)


def judged_metrics(pairs: pa.Table, same: Mapping[str, bool], measures: Sequence[str], seed: int) -> pa.Table:
    """`pair_precision` and, over the anchors all of whose pairs are judged, `measures` as METRIC.

    The queries of P@k and AP@k are those anchors with the pairs in their order of rank, weighted as
    sampled; R, the denominator of AP@k, is the same products among an anchor's pairs. An anchor with an
    unanswered pair is in "precision" alone, since no cut-off holds for it: compare n.
    Raises: InputError as `pair_precision`, and for a cut-off beyond the ranks that were asked about.
    """
    precision = pair_precision(pairs, same)
    deepest = pc.max(pairs.column("rank")).as_py()
    for name in measures:
        if parse_measure(name).params.get("cutoff", 1) > deepest:
            raise InputError(f"{name} can't be told from pairs of rank 1 to {deepest}: sample more ranks")
    queries = _complete_anchors(pairs, same)
    if not queries or not measures:
        return precision
    ranked = {anchor: list(query.same) for anchor, query in queries.items()}
    qrels = {anchor: query.same for anchor, query in queries.items()}
    strata = {anchor: query.stratum for anchor, query in queries.items()}
    weights = {anchor: query.weight for anchor, query in queries.items()}
    scores = evaluate_run(ranked_run(ranked), qrels, measures)
    return pa.concat_tables([precision, metric_table(scores, strata, seed, weights)])


@dataclass
class _Query:
    """An anchor: its products by rank, 1 where the same, 0 where not, and what its sample says of it."""

    stratum: str
    weight: float
    same: dict[str, int]


def _complete_anchors(pairs: pa.Table, same: Mapping[str, bool]) -> dict[str, _Query]:
    """The anchors without an unanswered pair."""
    queries: dict[str, _Query] = {}
    open_: set[str] = set()
    names = ("pair_id", "anchor_id", "product_id", "stratum", "weight")
    columns = (column.to_pylist() for column in pairs.sort_by("rank").select(names).columns)
    for pair, anchor, product, stratum, weight in zip(*columns, strict=True):
        query = queries.setdefault(anchor, _Query(stratum, weight, {}))
        if pair in same:
            query.same[product] = int(same[pair])
        else:
            open_.add(anchor)
    return {anchor: query for anchor, query in queries.items() if anchor not in open_}


def _scopes(categories: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The scope "all" and each category in order of name, with the places (int64) of its entries."""
    names = np.array(categories)
    if ALL in categories:
        raise InputError(f"a category is called {ALL!r}, which is the name of the figure over all of them")
    yield ALL, np.arange(len(names))
    for name in sorted(set(categories)):
        yield name, np.flatnonzero(names == name)


def _figure(scope: str, measure: str, value: float, low: float | None, high: float | None, n: int) -> _Figure:
    return {"scope": scope, "measure": measure, "value": value, "low": low, "high": high, "n": n}


def _of(query: str, mapping: Mapping[str, _T], name: str) -> _T:
    if query not in mapping:
        raise InputError(f"query {query!r} has no {name}")
    return mapping[query]
