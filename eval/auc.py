"""The area under the ROC curve of weighted, clustered answers, with its standard error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmprod.eval.estimate import Floats, Ints, mean


@dataclass(frozen=True)
class Auc:
    """An AUC, or the difference of two AUCs of the same answers.

    `influence`, float64[n]: the contribution of each answer to its error, to first order; sums to 0.
    """

    value: float
    influence: Floats

    def __sub__(self, other: "Auc") -> "Auc":
        return Auc(self.value - other.value, self.influence - other.influence)


def auc(scores: Floats, same: NDArray[np.bool_], weights: Floats, fold: Ints) -> Auc:
    """The share of (same, different) pairs of answers, both of one fold, in which "same" scores higher.

    Ties count half. A pair of answers is weighted by the product of its weights; all arrays are [n]. With one
    fold this is sklearn's roc_auc_score, which has neither folds nor errors. Cross-validated scores have
    another scale in each fold, so they are compared only within a fold. At least one fold must have both
    answers.
    """
    ordered, opposite = np.zeros(len(scores)), np.zeros(len(scores))
    for number in np.unique(fold):
        for side, sign in ((True, 1), (False, -1)):
            mine, others = ((fold == number) & (same == answer) for answer in (side, not side))
            ordered[mine] = _weight_below(sign * scores[mine], sign * scores[others], weights[others])
            opposite[mine] = weights[others].sum()
    total = float(weights[same] @ opposite[same])
    value = float(weights[same] @ ordered[same]) / total
    return Auc(value, weights * (ordered - value * opposite) / total)


def interval(found: Auc, clusters: Ints, strata: Ints) -> tuple[float | None, float | None]:
    """The 95 % interval by Student's t over clusters (int64[n], anchors) within strata; None for too few.

    Computed from the sums of the influence by cluster: Obuchowski, Biometrics 53 (1997), equal to DeLong,
    DeLong & Clarke-Pearson (Biometrics 44, 1988) if each answer is its own cluster. For large samples; too
    narrow if an AUC is nearly 1.
    """
    names, first, place = np.unique(clusters, return_index=True, return_inverse=True)
    count = len(names)
    sums = np.bincount(place, found.influence)
    each = np.asarray(found.value + count * sums, np.float64)  # their mean is `value`
    spread = mean(each, np.ones(count), names, strata[first], np.full(count, np.inf))
    return spread.interval if spread.freedom else (None, None)


def _weight_below(scores: Floats, others: Floats, weights: Floats) -> Floats:
    """The weight of `others` below each score, plus half the weight of those equal to it."""
    order = np.argsort(others)
    sums = np.append(0.0, np.cumsum(weights[order]))
    below, upto = (sums[np.searchsorted(others[order], scores, side)] for side in ("left", "right"))
    return np.asarray((below + upto) / 2, np.float64)
