"""Quality of each reviewer: answers to gold and repeated pairs, agreement with the others."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmprod.datasets.lazy import lazy
from mmprod.eval.reviewers.latest_answers import Answers, Codes, latest
from mmprod.eval.significance import holm

scipy, proportion = lazy("scipy"), lazy("statsmodels.stats.proportion")  # a second to import

QUALITY = pa.schema(
    [
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("answers", pa.int64(), nullable=False),  # pairs answered, repeats not counted
        pa.field("same_share", pa.float64(), nullable=False),  # of them "the same"
        pa.field("gold", pa.int64(), nullable=False),  # pairs answered whose answer was known
        pa.field("gold_right", pa.float64()),  # share of them answered right
        pa.field("gold_low", pa.float64()),  # Wilson's 95 % interval
        pa.field("gold_high", pa.float64()),
        pa.field("repeats", pa.int64(), nullable=False),  # pairs answered a second time
        pa.field("repeats_alike", pa.float64()),  # share of them answered as at first
        pa.field("shared", pa.int64(), nullable=False),  # pairs answered that the others have a majority on
        pa.field("with_others", pa.float64()),  # share of them answered as that majority
        pa.field("note", pa.string(), nullable=False),  # why the reviewer looks careless, "" for nothing
    ]
)

LEVEL = 0.05
"""The largest probability that a table names anyone although all reviewers are equally careful."""


@dataclass(frozen=True)
class _Tally:
    """Reviewer r answered `right[r]` of `asked[r]` questions right; int64[reviewers] each."""

    asked: Codes
    right: Codes

    def shares(self) -> list[float | None]:
        pairs = zip(self.right.tolist(), self.asked.tolist(), strict=True)
        return [right / asked if asked else None for right, asked in pairs]

    def without(self, reviewer: int) -> tuple[int, int]:
        """Questions and right answers of all the others together."""
        return int(self.asked.sum() - self.asked[reviewer]), int(self.right.sum() - self.right[reviewer])


def quality(judgements: pa.Table, gold: Mapping[str, bool]) -> pa.Table:
    """Each reviewer's record as QUALITY, in order of name. `gold`: the known answers by pair_id.

    A reviewer gets a note for doing worse than all others together on gold or on repeated pairs (Fisher's
    exact test, one-sided), and for giving the same answer throughout if the others' answers make that
    unlikely (p = q to the power of the reviewer's anchors, as an anchor's answers are correlated and count
    as one; q is the others' share of that answer by the rule of succession). Holm's correction over all
    tests of the table limits wrong notes to 5 % of the tables. The tests assume that pairs were assigned to
    reviewers at random, and that gold and repeats are independent. A single reviewer can't be compared with
    others: look at the interval. `with_others` causes no note, as it depends on who shares the pairs.
    Raises: InputError for a table with other columns than JUDGEMENT.
    """
    table = latest(judgements)
    answers = Answers.of(table)
    golden, repeated = _gold(answers, gold), _repeats(table, latest(judgements, repeat=True), answers)
    shared = _with_others(answers)
    given = np.bincount(answers.reviewer, minlength=len(answers.reviewers))
    said_same = np.bincount(answers.reviewer, answers.same, minlength=len(answers.reviewers))
    same = _Tally(given, said_same.astype(np.int64))
    low, high = _wilson(golden)
    columns = [
        *(answers.reviewers, given, same.shares()),
        *(golden.asked, golden.shares(), low, high),
        *(repeated.asked, repeated.shares(), shared.asked, shared.shares()),
        _notes(golden, repeated, same, _anchors(table)),
    ]
    arrays = [pa.array(column, type_) for column, type_ in zip(columns, QUALITY.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=QUALITY)


def _tally(answers: Answers, rows: NDArray[np.bool_], right: NDArray[np.bool_]) -> _Tally:
    people = len(answers.reviewers)
    asked = np.bincount(answers.reviewer[rows], minlength=people)
    return _Tally(asked, np.bincount(answers.reviewer[rows & right], minlength=people))


def _gold(answers: Answers, gold: Mapping[str, bool]) -> _Tally:
    known = np.array([gold.get(pair, -1) for pair in answers.pairs], np.int64)[answers.pair]
    return _tally(answers, known >= 0, known == answers.same)


def _repeats(first: pa.Table, again: pa.Table, answers: Answers) -> _Tally:
    """The number of questions answered twice, and of those answered alike."""
    names = ["pair_id", "reviewer", "label"]
    both = first.select(names).join(
        again.select(names), ["pair_id", "reviewer"], join_type="inner", right_suffix="_again"
    )
    place = {name: r for r, name in enumerate(answers.reviewers)}
    reviewer = np.array([place[name] for name in both["reviewer"].to_pylist()], np.int64)
    alike = both["label"].to_numpy() == both["label_again"].to_numpy()
    people = len(answers.reviewers)
    return _Tally(np.bincount(reviewer, minlength=people), np.bincount(reviewer[alike], minlength=people))


def _with_others(answers: Answers) -> _Tally:
    """The number of pairs with a majority among the other reviewers, and of those answered like it."""
    others = answers.counts()[answers.pair]
    others[np.arange(len(others)), answers.same.astype(np.int64)] -= 1
    return _tally(answers, others[:, 0] != others[:, 1], (others[:, 1] > others[:, 0]) == answers.same)


def _anchors(answers: pa.Table) -> Mapping[str, int]:
    """The number of anchors of which each reviewer answered pairs."""
    counted = answers.group_by("reviewer").aggregate([("anchor_id", "count_distinct")])
    names, counts = counted["reviewer"].to_pylist(), counted["anchor_id_count_distinct"].to_pylist()
    return dict(sorted(zip(names, counts, strict=True)))


def _wilson(tally: _Tally) -> tuple[list[float | None], list[float | None]]:
    """Lower and upper bounds of the shares."""
    counts = zip(tally.right.tolist(), tally.asked.tolist(), strict=True)
    bounds = [
        proportion.proportion_confint(right, asked, method="wilson") if asked else (None, None)
        for right, asked in counts
    ]
    return [low for low, _ in bounds], [high for _, high in bounds]


def _notes(golden: _Tally, repeated: _Tally, same: _Tally, anchors: Mapping[str, int]) -> list[str]:
    """A note for each reviewer. `same`: number of all answers, and of "the same"."""
    doubts: list[tuple[int, float, str]] = []  # reviewer, p, text
    for r, anchors_seen in enumerate(anchors.values()):
        doubts += _worse(golden, r, "gold pairs right")
        doubts += _worse(repeated, r, "repeated pairs answered as at first")
        doubts += _always_alike(same, r, anchors_seen)
    adjusted = holm([p for _, p, _ in doubts])
    found = [(r, words) for (r, _, words), p in zip(doubts, adjusted, strict=True) if p <= LEVEL]
    return ["; ".join(words for r, words in found if r == one) for one in range(len(anchors))]


def _worse(tally: _Tally, reviewer: int, what: str) -> list[tuple[int, float, str]]:
    asked, right = int(tally.asked[reviewer]), int(tally.right[reviewer])
    others_asked, others_right = tally.without(reviewer)
    if not asked or not others_asked:
        return []
    table = [[right, asked - right], [others_right, others_asked - others_right]]
    p = float(scipy.stats.fisher_exact(table, alternative="less").pvalue)
    return [(reviewer, p, f"{right} of {asked} {what}, the others {others_right / others_asked:.0%}")]


def _always_alike(same: _Tally, reviewer: int, anchors: int) -> list[tuple[int, float, str]]:
    asked, yes = int(same.asked[reviewer]), int(same.right[reviewer])
    others_asked, others_yes = same.without(reviewer)
    if yes not in (0, asked):
        return [(reviewer, 1.0, "")]  # no doubt, but a test that Holm's correction has to count
    others = others_yes if yes else others_asked - others_yes
    p = ((others + 1) / (others_asked + 2)) ** anchors
    return [(reviewer, p, f"all {asked} answers are {'the same' if yes else 'not the same'}")]
