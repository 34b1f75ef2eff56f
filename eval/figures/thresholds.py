"""A system's precision above a score, and the score threshold for a wanted precision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmprod.eval.estimate import Floats, Ints, share
from mmprod.eval.figures.metrics import ALL
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import UNJUDGED
from mmprod.storage.errors import InputError

THRESHOLD = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),  # "all" for all of them together
        pa.field("wanted", pa.float64(), nullable=False),  # precision
        pa.field("threshold", pa.float64()),  # of the score; this and the rest are null if no score reaches
        # it
        pa.field("precision", pa.float64()),  # of pairs scoring at least the threshold
        pa.field("low", pa.float64()),  # lower bound of its 95 % interval
        pa.field("recall", pa.float64()),  # of the same pairs the system found
        pa.field("n", pa.int64()),  # judged pairs scoring at least the threshold
    ]
)


@dataclass(frozen=True)
class Scored:
    """Judged pairs of a system, best score first; arrays are float64[n] unless stated otherwise.

    `weights`: how many (anchor, product) pairs of the population each pair represents.
    """

    scores: Floats
    same: NDArray[np.bool_]
    weights: Floats
    anchors: Ints
    strata: Ints


def curve(judged: Judged, system: str, category: str | None = None) -> tuple[Floats, Floats, Floats]:
    """(threshold, precision, recall) arrays for each score of the system's judged pairs, highest first.

    Precision is the share of same pairs among those scoring at least the threshold. Recall is the share of
    the system's same pairs that score at least the threshold. Both are weighted to the population and over
    the pairs of `category`, or all. Raises: InputError for an unknown system or category.
    """
    return _curve(_scored(judged, system, category))


def thresholds(judged: Judged, system: str, wanted: Sequence[float]) -> pa.Table:
    """The smallest score threshold with a precision of at least each of `wanted`, by category, as THRESHOLD.

    The threshold is chosen on the pairs from which its precision is computed, so that precision is
    optimistic: if the wanted precision must be guaranteed, choose a threshold whose `low` reaches it. `low`
    treats the anchors as from an infinite population (see `estimate.share`). Raises: InputError for an
    unknown system and for shares outside (0, 1].
    """
    if not all(0 < share_ <= 1 for share_ in wanted):
        raise InputError(f"wanted precisions are {list(wanted)}, want shares above 0 and up to 1")
    rows: list[dict[str, object]] = []
    for category in (None, *judged.sample.categories):
        scored = _scored(judged, system, category)
        for row in _thresholds(scored, wanted):
            rows.append({"system": system, "category": category or ALL} | row)
    return pa.Table.from_pylist(rows, schema=THRESHOLD)


def _thresholds(scored: Scored, wanted: Sequence[float]) -> Iterator[dict[str, object]]:
    threshold, precision, recall = _curve(scored)
    for aim in wanted:
        reached = np.flatnonzero(precision >= aim - 1e-12)
        if not len(reached):
            yield {"wanted": aim}
            continue
        place = int(reached[-1])
        above = scored.scores >= threshold[place]
        found = share(
            scored.same[above].astype(np.float64),
            scored.weights[above],
            scored.anchors[above],
            scored.strata[above],
            np.full(int(above.sum()), np.inf),
        )
        yield {
            "wanted": aim,
            "threshold": float(threshold[place]),
            "precision": float(precision[place]),
            "low": found.low,
            "recall": float(recall[place]),
            "n": found.n,
        }


def _curve(scored: Scored) -> tuple[Floats, Floats, Floats]:
    weight = np.cumsum(scored.weights)
    hits = np.cumsum(scored.weights * scored.same)
    last = np.flatnonzero(np.append(np.diff(scored.scores) != 0, True)) if len(weight) else slice(0)
    total = hits[-1] if len(hits) and hits[-1] > 0 else 1.0
    return scored.scores[last], (hits / weight)[last], (hits / total)[last]


def _scored(judged: Judged, system: str, category: str | None) -> Scored:
    sample, lists = judged.sample, judged.lists(system)
    known = lists.verdict != UNJUDGED
    if category is not None:
        known &= sample.category[lists.anchor] == sample.code_of(category)
    scores = judged.candidates.column("score").to_numpy()[lists.row[known]].astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    place = np.flatnonzero(known)[order]
    anchor = lists.anchor[place]
    weights = sample.weight[anchor] * judged.pool.stands_for[lists.pair[place]]
    return Scored(scores[order], lists.verdict[place] == 1, weights, anchor, sample.stratum[anchor])
