"""Groups of same items: their purity, and the agreement of predicted with true groups."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from mmprod.datasets.schemas import METRIC
from mmprod.eval.estimate import Estimate, Floats, Ints, bootstrap, mean, share
from mmprod.eval.figures.metrics import Row, row, scopes
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import UNJUDGED, Sample
from mmprod.storage.errors import InputError

GROUPING = (
    "pure",
    "pair precision",
    "pair recall",
    "pair F1",
    "B³ precision",
    "B³ recall",
    "B³ F1",
)


def grouping(predicted: Mapping[str, str], truth: Mapping[str, str], seed: int = 0) -> dict[str, Estimate]:
    """The agreement of predicted with true groups, over the products that are in both; keys: GROUPING.

    Args: `predicted` and `truth` map each product to its group.

    With n_ij products of true group j in predicted group i, P_i and T_j the groups' sizes:
        pure: the share of predicted groups of two or more whose products are all of one true group.
        pair precision, recall, F1: the share of grouped pairs of products that belong together,
            Σ C(n_ij, 2) / Σ C(P_i, 2); the share of pairs belonging together that are grouped, over
            Σ C(T_j, 2); their harmonic mean.
        B³ precision, recall, F1: the mean over products of the share of their predicted group that is of
            their true group, Σ n_ij² / P_i / N; of their true group that is in their predicted one,
            Σ n_ij² / T_j / N; their harmonic mean (Bagga & Baldwin, ACL 1998).
    Undefined shares (e.g. no grouped pairs) are left out. Intervals: bootstrap over true groups, each with
    its part of the sums above; n: predicted groups for "pure", products for all others.
    Raises: InputError if no product is in both.
    """
    names = predicted.keys() & truth.keys()
    if not names:
        raise InputError(
            f"none of {len(predicted)} grouped products is among {len(truth)} with a known group"
        )
    sums = _sums(*_numbered([(predicted[name], truth[name]) for name in sorted(names)]))
    values = _shares(sums.sum(axis=0)[:, None])[:, 0]
    told = np.flatnonzero(np.isfinite(values))
    bounds = bootstrap(lambda totals: _shares(totals)[told], sums, np.zeros(len(sums), np.int64), seed)
    groups = round(sums[:, 1].sum())
    return {
        GROUPING[i]: Estimate(float(values[i]), float(low), float(high), len(names) if i else groups)
        for i, low, high in zip(told, *bounds, strict=True)
    }


def pure_groups(judged: Judged, system: str, threshold: Mapping[str, float]) -> pa.Table:
    """Purity and size of groups made of an anchor and its candidates above the category's threshold; METRIC.

    "group purity": the share of groups in which no pair is judged not the same, among those with a judged
    pair; an upper bound if there are unjudged pairs. "group size": the mean number of products in a group,
    including the anchor, with its interval by Student's t. Both are weighted to the population. Anchors of
    categories without a threshold are left out.
    Raises: InputError for an unknown system or category.
    """
    sample, lists = judged.sample, judged.lists(system)
    for name in threshold:
        sample.code_of(name)
    cuts = np.array([threshold.get(name, np.inf) for name in sample.categories])[sample.category]
    inside = judged.candidates.column("score").to_numpy()[lists.row] >= cuts[lists.anchor]
    members, verdict = lists.anchor[inside], lists.verdict[inside]
    known = np.bincount(members[verdict != UNJUDGED], minlength=len(cuts)) > 0
    pure = np.bincount(members[verdict == 0], minlength=len(cuts)) == 0
    size = (1 + np.bincount(members, minlength=len(cuts))).astype(np.float64)
    rows: list[Row] = []
    places = np.flatnonzero(known)
    for facet, scope, part in scopes(sample, places):
        found = share(pure[places[part]].astype(np.float64), *_design(sample, places[part]))
        rows.append(row(system, facet, scope, "group purity", "judged", found))
    places = np.flatnonzero(np.isfinite(cuts))
    for facet, scope, part in scopes(sample, places):
        mean_size = mean(size[places[part]], *_design(sample, places[part]))
        found = Estimate(mean_size.value, *mean_size.interval, int(part.sum()))
        rows.append(row(system, facet, scope, "group size", "", found))
    return pa.Table.from_pylist(rows, schema=METRIC)


def _design(sample: Sample, places: Ints) -> tuple[Floats, Ints, Ints, Floats]:
    """Weights, clusters, strata and population of anchors, as `estimate.mean` takes them."""
    return sample.weight[places], places, sample.stratum[places], sample.population[places]


def _numbered(groups: list[tuple[str, str]]) -> tuple[Ints, Ints]:
    """The predicted and the true group of each product as numbers."""
    codes = []
    for names in zip(*groups, strict=True):
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        codes.append(np.array([number[name] for name in names], np.int64))
    return codes[0], codes[1]


def _sums(predicted: Ints, true: Ints) -> Floats:
    """float64[true groups, 8]: the contribution of each true group to the sums that `_shares` divides."""
    keys, together = np.unique(predicted * (true.max() + 1) + true, return_counts=True)
    group, of = keys // (true.max() + 1), keys % (true.max() + 1)
    n = together.astype(np.float64)
    whole, all_ = np.bincount(predicted)[group], np.bincount(true)[of]
    several = whole > 1
    cells = (
        n / whole * several * (n == whole),  # pure groups
        n / whole * several,  # groups of two or more
        n * (n - 1) / 2,  # pairs rightly together
        n * (whole - 1) / 2,  # pairs put together
        n * (all_ - 1) / 2,  # pairs that belong together
        n * n / whole,
        n * n / all_,
        n,  # products
    )
    return np.stack([np.bincount(of, cell) for cell in cells], axis=1)


def _shares(totals: Floats) -> Floats:
    """float64[8, k] sums to float64[7, k], the figures of GROUPING; NaN for undefined shares."""
    pure, groups, right, put, belong, precise, recalled, products = totals
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = precise / products, recalled / products
        return np.stack(
            [
                pure / groups,
                right / put,
                right / belong,
                2 * right / (put + belong),
                precision,
                recall,
                2 * precision * recall / (precision + recall),
            ]
        )
