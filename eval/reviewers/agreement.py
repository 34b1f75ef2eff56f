"""Agreement of reviewers beyond chance: Cohen's and Fleiss' κ, Krippendorff's α."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mmprod.datasets.lazy import lazy
from mmprod.eval.reviewers.latest_answers import Answers, Codes, latest

scipy, krippendorff = lazy("scipy"), lazy("krippendorff")
inter_rater = lazy("statsmodels.stats.inter_rater")  # a second to import; not needed without a common pair

COHEN = pa.schema(
    [
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),  # after `reviewer` in the alphabet
        pa.field("pairs", pa.int64(), nullable=False),  # that both answered, more than 0
        pa.field("observed", pa.float64(), nullable=False),  # share of them that they answered alike
        pa.field("kappa", pa.float64()),  # null if both gave one and the same answer throughout
    ]
)


@dataclass(frozen=True)
class Agreement:
    """Agreement over the `pairs` with at least two answers, given by `reviewers` people.

    All coefficients are 1 for full agreement and 0 for agreement by chance; None if undefined (no pair with
    two answers, or one and the same answer throughout). They treat pairs as independent and depend on the
    share of same pairs, so compare them only between similar samples.

    observed: share of equal answers among all twos of reviewers of a pair, averaged over the pairs.
    cohen: Cohen's κ (Educ. Psychol. Meas. 20, 1960) of every two reviewers, averaged with the number of
        their common pairs as weight (Light, Psychol. Bull. 76, 1971, averages without). Of two it is
        Cohen's κ itself.
    fleiss: Fleiss' κ (Psychol. Bull. 76, 1971). It requires the same number of answers to every pair: it is
        computed from the `fleiss_pairs` pairs with the most common number (of ties, the larger).
    alpha: Krippendorff's α (Content Analysis, 1980), nominal: allows any number of answers to a pair.
    """

    pairs: int
    reviewers: int
    observed: float | None
    cohen: float | None
    fleiss: float | None
    fleiss_pairs: int
    alpha: float | None


def agreement(judgements: pa.Table) -> Agreement:
    """The agreement of the reviewers' latest answers; repeats are left out. `judgements` is JUDGEMENT.

    Raises: InputError for a table with other columns.
    """
    answers = Answers.of(latest(judgements))
    counts = answers.counts()
    common = counts.sum(axis=1) >= 2
    people = len(np.unique(answers.reviewer[common[answers.pair]]))
    counts = counts[common]
    if not len(counts):
        return Agreement(0, 0, None, None, None, 0, None)
    even = _commonest_size(counts)
    return Agreement(
        len(counts), people, _observed(counts), _mean_cohen(answers), _fleiss(even), len(even), _alpha(counts)
    )


def cohen_table(judgements: pa.Table) -> pa.Table:
    """Cohen's κ of every two reviewers with a pair in common, as COHEN in order of their names.

    Raises: InputError for a table with other columns than JUDGEMENT.
    """
    return _cohen(Answers.of(latest(judgements)))


def _cohen(answers: Answers) -> pa.Table:
    crossed = _crossed(answers)
    rows = []
    for first, second in zip(*np.triu_indices(len(answers.reviewers), 1), strict=True):
        table = crossed[:, :, first, second]
        if pairs := int(table.sum()):
            alike = float(np.trace(table)) / pairs
            one_answer = pairs in np.diag(table)
            kappa = None if one_answer else float(inter_rater.cohens_kappa(table, return_results=False))
            rows.append((answers.reviewers[first], answers.reviewers[second], pairs, alike, kappa))
    return pa.Table.from_pylist([dict(zip(COHEN.names, row, strict=True)) for row in rows], schema=COHEN)


def _crossed(answers: Answers) -> Codes:
    """int64[2, 2, r, r]: in how many pairs reviewer k's answer is i and reviewer l's is j."""
    shape = (len(answers.reviewers), len(answers.pairs))
    gave = []
    for label in (False, True):
        rows = answers.same == label
        ones = np.ones(int(rows.sum()), np.int64)
        gave.append(scipy.sparse.csr_array((ones, (answers.reviewer[rows], answers.pair[rows])), shape=shape))
    return np.array([[(one @ other.T).toarray() for other in gave] for one in gave])


def _mean_cohen(answers: Answers) -> float | None:
    table = _cohen(answers).drop_null()
    if not table.num_rows:
        return None
    return float(np.average(table["kappa"].to_numpy(), weights=table["pairs"].to_numpy()))


def _observed(counts: Codes) -> float:
    size = counts.sum(axis=1)
    return float(np.mean((counts * (counts - 1)).sum(axis=1) / (size * (size - 1))))


def _commonest_size(counts: Codes) -> Codes:
    """The pairs with the most common number of answers."""
    size = counts.sum(axis=1)
    sizes, times = np.unique(size, return_counts=True)
    commonest = sizes[np.lexsort((sizes, times))[-1]]
    return np.asarray(counts[size == commonest], np.int64)


def _fleiss(counts: Codes) -> float | None:
    return float(inter_rater.fleiss_kappa(counts)) if counts.any(axis=0).all() else None


def _alpha(counts: Codes) -> float | None:
    if not counts.any(axis=0).all():
        return None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
