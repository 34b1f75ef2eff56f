"""Assigns unjudged pairs to reviewers' sheets, with gold and repeated questions mixed in."""

from collections.abc import Sequence, Set
from heapq import nsmallest

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmprod.datasets.schemas import PAIR, QUESTION, check
from mmprod.eval.survey.pair_ids import repeat_id
from mmprod.eval.survey.permanent_random import places
from mmprod.storage.errors import InputError

PAIR_KEYS = pa.schema([PAIR.field(name) for name in ("pair_id", "anchor_id", "product_id")])
"""The columns of a table of gold pairs."""


def questions(
    pairs: pa.Table,
    judged: Set[str],
    gold: pa.Table,
    gold_share: float,
    repeat_share: float,
    reviewers: Sequence[str],
    overlap: float,
    seed: int,
) -> pa.Table:
    """The questions of every reviewer's sheet, in the order of the sheet.

    Args:
        pairs: PAIR, as drawn. A pair that occurs twice (each product is an anchor) is asked once.
        judged: pair_ids that have an answer already; they are not asked again.
        gold: PAIR_KEYS, pairs whose answer is known, without those that are asked anyway.
        gold_share, repeat_share: gold and repeated questions on a sheet, as shares of those asked.
        reviewers: each anchor, with all its pairs, goes to the reviewer with the fewest questions so far,
            so their numbers differ by at most one anchor's questions. Empty: one sheet, of reviewer "".
        overlap: share of the anchors that two reviewers get, to measure their agreement; none with fewer
            than two reviewers.
        seed: of the order of anchors and of an anchor's pairs, and of the questions mixed in. The order
            of the given rows doesn't matter.
    A repeat has its sides exchanged and the id `repeat_id`. It comes after the original, with another
    anchor's questions between; gold and repeats come between anchors. A sheet too short for that has
    fewer.
    Returns: QUESTION; a reviewer's rows are together and in order.
    Raises: InputError for other tables, shares out of 0 to 1, and reviewers without a name or named twice.
    """
    _check(pairs, gold, reviewers, {"gold": gold_share, "repeat": repeat_share, "overlap": overlap})
    asked = _in_order(pairs.select(PAIR_KEYS.names), judged, seed)
    known = _in_order(gold, set(asked.column("pair_id").to_pylist()), seed)
    groups = _groups(asked)
    hands = _deal(groups, max(1, len(reviewers)), overlap, seed)
    sheets = []
    for reviewer, hand in zip(reviewers or [""], hands, strict=True):
        rows = np.concatenate([groups[anchor] for anchor in hand]) if hand else np.empty(0, np.int64)
        group = np.repeat(np.arange(len(hand)), [len(groups[anchor]) for anchor in hand])
        random = np.random.default_rng(places([reviewer], seed))
        sheets.append(_sheet(asked.take(rows), group, known, gold_share, repeat_share, reviewer, random))
    return pa.concat_tables(sheets)


def _in_order(pairs: pa.Table, without: Set[str], seed: int) -> pa.Table:
    """Each pair once, grouped by anchor; anchors, and pairs within them, in an order given by the seed."""
    pairs = pairs.sort_by([("pair_id", "ascending"), ("anchor_id", "ascending")])
    names = np.array(pairs.column("pair_id").to_pylist(), object)
    kept = np.append(True, names[1:] != names[:-1]) if len(names) else np.empty(0, bool)
    kept &= np.fromiter((name not in without for name in names), bool, len(names))
    pairs = pairs.filter(pa.array(kept))
    anchors = pairs.column("anchor_id").combine_chunks().dictionary_encode()
    turn = places(anchors.dictionary.to_pylist(), seed)[anchors.indices.to_numpy()]
    return pairs.take(np.lexsort((places(names[kept], seed), turn)))


def _groups(asked: pa.Table) -> list[NDArray[np.int64]]:
    """The rows of each anchor, in the order of `asked`, in which an anchor's rows are adjacent."""
    anchor = asked.column("anchor_id").combine_chunks().dictionary_encode().indices.to_numpy()
    return np.split(np.arange(len(anchor)), np.flatnonzero(np.diff(anchor)) + 1) if len(anchor) else []


def _deal(groups: Sequence[NDArray[np.int64]], hands: int, overlap: float, seed: int) -> list[list[int]]:
    """The groups of each of `hands`: each goes to the one with the fewest questions, a share to two."""
    random = np.random.default_rng(places(["overlap"], seed))
    twice = set(random.permutation(len(groups))[: round(overlap * len(groups))].tolist())
    dealt: list[list[int]] = [[] for _ in range(hands)]
    load = [0] * hands
    for i, group in enumerate(groups):
        for hand in nsmallest(1 + (i in twice), range(hands), key=load.__getitem__):
            dealt[hand].append(i)
            load[hand] += len(group)
    return dealt


def _sheet(
    asked: pa.Table,
    group: NDArray[np.int64],
    gold: pa.Table,
    gold_share: float,
    repeat_share: float,
    reviewer: str,
    random: np.random.Generator,
) -> pa.Table:
    """One reviewer's questions; `group`, int64[n]: the number of each question's anchor, from 0.

    Questions are sorted by a time: those of an anchor have its number, gold and repeats a half before an
    anchor's or after the last one.
    """
    last = int(group[-1]) + 1 if len(group) else 0
    watch = random.permutation(gold.num_rows)[: round(gold_share * len(group))]
    early = np.flatnonzero(group + 2 <= last)  # an anchor, another one, then the repeat
    again = random.permutation(early)[: round(repeat_share * len(group))]
    times = (
        group,
        random.integers(0, last + 1, len(watch)) - 0.5,
        random.integers(group[again] + 2, last + 1) - 0.5,
    )
    parts = (
        _questions(asked, "asked", reviewer),
        _questions(gold.take(watch), "gold", reviewer),
        _questions(_exchanged(asked.take(again)), "repeat", reviewer),
    )
    return pa.concat_tables(parts).take(np.argsort(np.concatenate(times), kind="stable"))


def _exchanged(pairs: pa.Table) -> pa.Table:
    return pairs.rename_columns(["pair_id", "product_id", "anchor_id"])


def _questions(pairs: pa.Table, role: str, reviewer: str) -> pa.Table:
    names = pairs.column("pair_id")
    if role == "repeat":
        names = pa.array([repeat_id(name) for name in names.to_pylist()], pa.string())
    columns = {
        "question_id": names,
        **{name: pairs.column(name) for name in PAIR_KEYS.names},
        "role": pa.repeat(role, pairs.num_rows),
        "reviewer": pa.repeat(reviewer, pairs.num_rows),
    }
    return pa.table(columns, schema=QUESTION)


def _check(pairs: pa.Table, gold: pa.Table, reviewers: Sequence[str], shares: dict[str, float]) -> None:
    check(pairs, PAIR, "pairs")
    check(gold, PAIR_KEYS, "gold pairs")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"the share of {name} is {share}, want 0 to 1")
    for reviewer in reviewers:
        if not reviewer or list(reviewers).count(reviewer) > 1:
            raise InputError(f"reviewers are {list(reviewers)}: want names, each once")
