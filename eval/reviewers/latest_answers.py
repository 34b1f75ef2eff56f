"""Selects the answers that count: each reviewer's latest answer to each pair."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmprod.datasets.schemas import JUDGEMENT, check

Codes = NDArray[np.int64]


def latest(judgements: pa.Table, repeat: bool = False) -> pa.Table:
    """The last answer of each reviewer to each pair (JUDGEMENT in, JUDGEMENT out), in order of time.

    So a corrected file replaces the first one, and the same file twice counts once. Of two answers with the
    same time the later row counts. Answers to repeated questions, asked to check the reviewer, are
    separate: with `repeat` only they are returned, without it only the others.
    Raises: InputError for a table with other columns.
    """
    check(judgements, JUDGEMENT, "judgements")
    wanted = judgements.filter(pc.equal(judgements["repeat"], repeat))
    in_time = wanted.take(pc.sort_indices(wanted, sort_keys=[("judged_at", "ascending")]))  # stable
    numbered = in_time.append_column("row", pa.array(np.arange(in_time.num_rows)))
    last = numbered.group_by(["pair_id", "reviewer"]).aggregate([("row", "max")])
    return in_time.take(last["row_max"].sort())


@dataclass(frozen=True)
class Answers:
    """Latest answers as parallel arrays: `reviewers[reviewer[i]]` answered `same[i]` to `pairs[pair[i]]`.

    pair int64[n], reviewer int64[n], same bool[n]. Reviewers are in order of name; pairs in no order.
    """

    pairs: tuple[str, ...]
    reviewers: tuple[str, ...]
    pair: Codes
    reviewer: Codes
    same: NDArray[np.bool_]

    @classmethod
    def of(cls, answers: pa.Table) -> "Answers":
        """From the result of `latest` (JUDGEMENT, each reviewer once per pair)."""
        pairs, pair = _coded(answers["pair_id"])
        names, reviewer = _coded(answers["reviewer"])
        order = np.argsort(np.array(names, dtype=object))
        place = np.empty(len(names), np.int64)
        place[order] = np.arange(len(names))
        reviewers = tuple(sorted(names))
        same = np.asarray(answers["label"].to_numpy(), bool)
        return cls(tuple(pairs), reviewers, pair, place[reviewer], same)

    def counts(self) -> Codes:
        """int64[pairs, 2]: the number of reviewers who answered "not the same" and "the same"."""
        cell = 2 * self.pair + self.same
        return np.bincount(cell, minlength=2 * len(self.pairs)).reshape(-1, 2)


def _coded(column: pa.ChunkedArray) -> tuple[list[str], Codes]:
    """The distinct values of a column, and each row's index into them."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), np.asarray(coded.indices.to_numpy(), np.int64)
