"""Fits the weight of pictures against titles, and the score threshold, to the labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmprod.eval.auc import auc, interval
from mmprod.eval.estimate import Floats, Ints
from mmprod.eval.figures.metrics import ALL
from mmprod.eval.figures.thresholds import thresholds
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import UNJUDGED
from mmprod.storage.errors import InputError

GRID = np.arange(21) / 20
"""Candidate weights of the picture; the title has the rest."""
SIMPLE: Mapping[str, float] = {"1_1": 0.5, "7_3": 0.7}
"""Weights that are advised unless fitting is significantly better, the simplest first."""
FOLDS = 5
LEAST = 10
"""The number of anchors with a same product, and with a different one, that a fit needs."""

WEIGHTS = pa.schema(
    [
        pa.field("scope", pa.string(), nullable=False),  # "all" or a category
        pa.field("pairs", pa.int64(), nullable=False),  # judged, with both scores
        pa.field("anchors", pa.int64(), nullable=False),
        pa.field("image_weight", pa.float64(), nullable=False),  # the best fit to all pairs
        pa.field("auc", pa.float64(), nullable=False),  # cross-validated
        pa.field("low", pa.float64()),  # 95 % interval
        pa.field("high", pa.float64()),
        pa.field("auc_1_1", pa.float64(), nullable=False),  # of equal weights, at the same anchors
        pa.field("gain_1_1", pa.float64(), nullable=False),  # auc - auc_1_1
        pa.field("gain_1_1_low", pa.float64()),
        pa.field("gain_1_1_high", pa.float64()),
        pa.field("auc_7_3", pa.float64(), nullable=False),
        pa.field("gain_7_3", pa.float64(), nullable=False),
        pa.field("gain_7_3_low", pa.float64()),
        pa.field("gain_7_3_high", pa.float64()),
        pa.field("advised", pa.float64(), nullable=False),  # weight of the picture; the fitted one if better
        pa.field("threshold", pa.float64()),  # of the score at that weight; null if no score reaches `wanted`
        pa.field("precision", pa.float64()),  # from the threshold on, and the lower bound of its interval
        pa.field("precision_low", pa.float64()),
    ]
)

Row = dict[str, object]


def fit_weights(judged: Judged, system: str, wanted: float = 0.95, seed: int = 0) -> pa.Table:
    """The weight w of score = w·image + (1-w)·text that separates same from different best, as WEIGHTS.

    It is fitted overall, and for each category with at least LEAST anchors that have a same product and
    LEAST that have a different one. The best w has the highest ROC AUC of the judged pairs, weighted to the
    population: the probability that a same pair scores above a different one of any anchor, as a threshold
    requires; of equal ones, the w nearest to 1:1. `auc` is cross-validated: the weight applied to a fifth of
    the anchors is fitted to the other four fifths, and only pairs of the same fifth are compared. The
    intervals of auc and gains are Student's, over anchors within strata, from the linearised AUC
    (`auc.interval`), with the folds' weights treated as fixed.
    1:1 is `advised` if the interval of the gain over it includes 0, else 7:3 by the same rule, else the
    fitted weight. With few labels that is 1:1; this does not show that 1:1 is best, only that nothing was
    shown to be better.
    The threshold is the smallest score whose precision is at least `wanted` (see `figures.thresholds`).
    Pairs that lack one of the scores are left out of the fit. All pairs are candidates that the system found
    at its own weights; what it would find at another weight can only be evaluated by a new survey.
    Raises: InputError for an unknown system and for too few anchors overall.
    """
    rows = _judged_rows(judged, system)
    parts = [(scope, part) for scope, part in _scopes(judged, rows) if min(_sides(part)) >= LEAST]
    if not parts:
        same, other = _sides(rows)
        raise InputError(
            f"{system!r}: {same} anchors have a same product with both scores, {other} have another, "
            f"but fitting weights needs {LEAST} of each: label more"
        )
    fits = [{"scope": scope} | _fit(part, judged.sample.stratum, seed) for scope, part in parts]
    return pa.Table.from_pylist(list(_with_thresholds(judged, system, fits, wanted)), schema=WEIGHTS)


@dataclass(frozen=True)
class _Rows:
    """Judged pairs with both scores, one entry each; `anchor`: index of the survey's anchor."""

    anchor: Ints
    same: NDArray[np.bool_]
    weight: Floats
    image: Floats
    text: Floats

    def part(self, rows: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.anchor[rows], self.same[rows], self.weight[rows], self.image[rows], self.text[rows])

    def scores(self, image_weight: float) -> Floats:
        return image_weight * self.image + (1 - image_weight) * self.text


def _judged_rows(judged: Judged, system: str) -> _Rows:
    lists = judged.lists(system)
    image, text = (_component(judged, name)[lists.row] for name in ("image_score", "text_score"))
    known = (lists.verdict != UNJUDGED) & ~np.isnan(image) & ~np.isnan(text)
    anchor = lists.anchor[known]
    weight = judged.sample.weight[anchor] * judged.pool.stands_for[lists.pair[known]]
    return _Rows(anchor, lists.verdict[known] == 1, weight, image[known], text[known])


def _component(judged: Judged, name: str) -> Floats:
    """A score column as float64, NaN where it is null."""
    return np.asarray(judged.candidates.column(name).to_numpy(), np.float64)


def _scopes(judged: Judged, rows: _Rows) -> Iterator[tuple[str, _Rows]]:
    yield ALL, rows
    for code, category in enumerate(judged.sample.categories):
        yield category, rows.part(judged.sample.category[rows.anchor] == code)


def _sides(rows: _Rows) -> tuple[int, int]:
    """The number of anchors with a same product, and of those with a different one."""
    return len(np.unique(rows.anchor[rows.same])), len(np.unique(rows.anchor[~rows.same]))


def _fit(rows: _Rows, strata: Ints, seed: int) -> Row:
    fold = _folds(rows, seed)
    held_out = np.empty(len(fold))
    for number in range(FOLDS):
        out = fold == number
        held_out[out] = rows.part(out).scores(_best_weight(rows.part(~out)))
    fitted, best = auc(held_out, rows.same, rows.weight, fold), _best_weight(rows)
    stratum = strata[rows.anchor]
    low, high = interval(fitted, rows.anchor, stratum)
    found: Row = {"pairs": len(fold), "anchors": len(np.unique(rows.anchor)), "image_weight": best}
    found |= {"auc": fitted.value, "low": low, "high": high, "advised": best}
    for name, weight in reversed(list(SIMPLE.items())):
        simple = auc(rows.scores(weight), rows.same, rows.weight, fold)
        gain = fitted - simple
        low, high = interval(gain, rows.anchor, stratum)
        found |= {f"auc_{name}": simple.value, f"gain_{name}": gain.value}
        found |= {f"gain_{name}_low": low, f"gain_{name}_high": high}
        if low is None or low <= 0:
            found["advised"] = weight
    return found


def _folds(rows: _Rows, seed: int) -> Ints:
    """int64[n]: the fold of each entry's anchor.

    Shuffled anchors are dealt to the folds in turn: first those with both answers, then those with only
    "same", then the others. So every fold has both answers."""
    anchors, entry = np.unique(rows.anchor, return_inverse=True)
    same = np.bincount(entry, rows.same) > 0
    other = np.bincount(entry, ~rows.same) > 0
    dealt = np.lexsort((np.random.default_rng(seed).random(len(anchors)), ~other, ~same))
    fold = np.empty(len(anchors), np.int64)
    fold[dealt] = np.arange(len(anchors)) % FOLDS
    return fold[entry]


def _best_weight(rows: _Rows) -> float:
    together = np.zeros(len(rows.anchor), np.int64)
    values = np.array([auc(rows.scores(w), rows.same, rows.weight, together).value for w in GRID])
    best = GRID[values >= values.max() - 1e-9]
    return float(best[np.argmin(np.abs(best - SIMPLE["1_1"]))])


def _with_thresholds(judged: Judged, system: str, fits: list[Row], wanted: float) -> Iterator[Row]:
    advised = {str(fit["scope"]): float(str(fit["advised"])) for fit in fits}
    over_all = np.full(len(judged.sample.ids), advised[ALL])
    by_category = np.array([advised.get(name, advised[ALL]) for name in judged.sample.categories])
    tables = [
        thresholds(_rescored(judged, system, weights), system, [wanted]).to_pylist()
        for weights in (over_all, by_category[judged.sample.category])
    ]
    for fit in fits:
        found = next(row for row in tables[fit["scope"] != ALL] if row["category"] == fit["scope"])
        limits = {name: found[name] for name in ("threshold", "precision")}
        yield fit | limits | {"precision_low": found["low"]}


def _rescored(judged: Judged, system: str, image_weight: Floats) -> Judged:
    """A copy with the system's scores recomputed by each anchor's weight, missing ones as 0; same ranks."""
    lists = judged.lists(system)
    weight = image_weight[lists.anchor]
    image, text = (
        np.nan_to_num(_component(judged, name)[lists.row]) for name in ("image_score", "text_score")
    )
    scores = np.array(judged.candidates.column("score").to_numpy(), np.float32)
    scores[lists.row] = weight * image + (1 - weight) * text
    place = judged.candidates.schema.get_field_index("score")
    column = pa.array(scores, pa.float32())
    field = judged.candidates.schema.field(place)
    return replace(judged, candidates=judged.candidates.set_column(place, field, column))
