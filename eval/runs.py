"""Evaluates rankings against relevant products: trec_eval's measures per query, through ir-measures."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np

from mmprod.eval.estimate import Floats
from mmprod.storage.errors import InputError

Run = Mapping[str, Mapping[str, float]]
"""query -> product -> score, larger is better."""
Qrels = Mapping[str, Mapping[str, int]]
"""query -> product -> relevance, 0 for not relevant."""


@dataclass(frozen=True)
class Scores:
    """Scores per query: `values[measure]` is float64[q]; its i-th value is that of ``queries[i]``."""

    queries: tuple[str, ...]
    values: Mapping[str, Floats]


def evaluate_run(run: Run, qrels: Qrels, measures: Sequence[str]) -> Scores:
    """trec_eval's value of each measure for each query of `qrels`, sorted by query.

    A query without results in `run`, or without relevant products, counts with 0; a query without qrels is
    not evaluated. Scores are compared as float32, and ties are won by the larger id, as in trec_eval: use
    `ranked_run` to keep a given order.
    Measures are named as in ir-measures: ``P@10`` (divided by 10 also for fewer results), ``R@10``,
    ``Success@1``, ``nDCG@10``, ``RR``, ``AP`` and ``AP@10``. The denominator of AP@k is R, the number of
    relevant products of the query, also if R > k (trec_eval's map_cut). ``AP(rel=2)@10``: relevant from
    grade 2.
    Raises: InputError for no query, a score that isn't finite, and a measure that trec_eval doesn't have.
    """
    if not qrels:
        raise InputError("no query to evaluate: the qrels are empty")
    for query, scores in run.items():
        if not all(map(math.isfinite, scores.values())):
            raise InputError(f"run: query {query!r} has a score that is not a finite number")
    parsed = {parse_measure(name): name for name in measures}
    queries = tuple(sorted(qrels))
    place = {query: i for i, query in enumerate(queries)}
    values = {name: np.zeros(len(queries)) for name in measures}
    evaluator = ir_measures.pytrec_eval.evaluator(list(parsed), qrels)
    for metric in evaluator.iter_calc(run):  # also yields queries without results, as 0
        values[parsed[metric.measure]][place[metric.query_id]] = metric.value
    return Scores(queries, values)


def ranked_run(ranked: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Convert lists of ids, best first, to a run that keeps their order.

    Raises: InputError for a repeated id in a list.
    """
    run = {query: {name: float(-i) for i, name in enumerate(ids)} for query, ids in ranked.items()}
    for query, ids in ranked.items():
        if len(run[query]) != len(ids):
            raise InputError(f"query {query!r}: an id comes twice among its {len(ids)} results")
    return run


def ranked_scores(
    ranked: Mapping[str, Sequence[str]], relevant: Mapping[str, Set[str]], measures: Sequence[str]
) -> Scores:
    """`evaluate_run` for lists of ids, best first, and a set of relevant ids for each query.

    Every query of `relevant` counts; it scores 0 if it has no list, an empty list or an empty set.
    """
    qrels = {query: dict.fromkeys(names, 1) for query, names in relevant.items()}
    return evaluate_run(ranked_run(ranked), qrels, measures)


def same_items(item_of: Mapping[str, str]) -> dict[str, set[str]]:
    """For each product whose item has several listings, the other listings: `relevant` in `ranked_scores`.

    `item_of`: the item of each product. Items with one listing are left out.
    """
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for product, item in item_of.items():
        groups[item].add(product)
    return {product: groups[item] - {product} for product, item in item_of.items() if len(groups[item]) > 1}


def parse_measure(name: str) -> Any:
    """The measure `name` of ir-measures. Raises: InputError for one that trec_eval can't compute."""
    try:
        measure = ir_measures.parse_measure(name)
        known = ir_measures.pytrec_eval.supports(measure)
    except (ValueError, NameError, AssertionError, TypeError) as error:
        raise InputError(
            f"measure {name!r} is not understood ({error}); write it as P@10, AP@10, RR"
        ) from error
    numbers = [measure.params.get("cutoff", 1), measure.params.get("rel", 1)]
    if not known or any(type(n) is not int or n < 1 for n in numbers):  # trec_eval aborts at a cutoff of 0
        raise InputError(f"measure {name!r} is not one of trec_eval's; write it as P@10, AP@10, RR")
    return measure
