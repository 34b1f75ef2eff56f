"""Combines reviewers' answers to one verdict per pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.eval.reviewers.latest_answers import Answers, latest
from mmprod.storage.errors import InputError

Policy = Literal["majority", "unanimous"]
POLICIES: tuple[Policy, ...] = ("majority", "unanimous")

CONTESTED = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("same", pa.list_(pa.string()), nullable=False),  # names of the reviewers with this answer
        pa.field("different", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Verdicts:
    """The verdicts: `same` by pair_id, and the ids of pairs that need attention.

    `unresolved` pairs have answers but no verdict, and are not used; `contested` are all pairs with different
    answers, with or without a verdict.
    """

    same: Mapping[str, bool]
    unresolved: tuple[str, ...]
    contested: tuple[str, ...]


def decide(judgements: pa.Table, policy: Policy = "majority", adjudicators: Sequence[str] = ()) -> Verdicts:
    """Decide each pair from the reviewers' latest answers; `judgements`: schema JUDGEMENT.

    "majority": the answer of more of a pair's reviewers, no verdict in a tie; "unanimous": only an answer
    given by all of them. If one of the `adjudicators` answered, only adjudicators count. Answers to repeated
    questions don't count. A single reviewer is a majority, and unanimous.
    Raises: InputError for another policy, and for a table with other columns than JUDGEMENT.
    """
    if policy not in POLICIES:
        raise InputError(f"policy {policy!r} is unknown; there are {' and '.join(POLICIES)}")
    answers = Answers.of(latest(judgements))
    votes = _votes(answers, adjudicators)
    resolved = votes[:, 0] != votes[:, 1] if policy == "majority" else votes.min(axis=1) == 0
    pairs = np.array(answers.pairs, dtype=object)
    same = votes[resolved, 1] > votes[resolved, 0]
    return Verdicts(
        dict(zip(pairs[resolved].tolist(), same.tolist(), strict=True)),
        tuple(sorted(pairs[~resolved].tolist())),
        tuple(sorted(pairs[answers.counts().min(axis=1) > 0].tolist())),
    )


def contested(judgements: pa.Table) -> pa.Table:
    """The pairs with different answers, and who gave them, as CONTESTED in order of pair_id.

    anchor_id and product_id are in the order of the pair's first answer.
    Raises: InputError for a table with other columns than JUDGEMENT.
    """
    answers = latest(judgements)
    votes = answers.group_by("pair_id").aggregate([("label", "min"), ("label", "max")])
    divided = votes.filter(pc.not_equal(votes["label_min"], votes["label_max"]))["pair_id"]
    rows: dict[str, dict[str, object]] = {}
    said: dict[str, tuple[list[str], list[str]]] = {}
    told = answers.select(["pair_id", "anchor_id", "product_id", "label", "reviewer"])
    for answer in told.filter(pc.is_in(told["pair_id"], value_set=divided)).to_pylist():
        pair = answer["pair_id"]
        rows.setdefault(pair, {name: answer[name] for name in ("pair_id", "anchor_id", "product_id")})
        said.setdefault(pair, ([], []))[answer["label"]].append(answer["reviewer"])
    for pair, (different, same) in said.items():
        rows[pair] |= {"same": sorted(same), "different": sorted(different)}
    return pa.Table.from_pylist([rows[pair] for pair in sorted(rows)], schema=CONTESTED)


def _votes(answers: Answers, adjudicators: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """int64[pairs, 2]: votes for "not the same" and "the same", by those whose answers count."""
    above = np.isin(np.array(answers.reviewers, dtype=str), list(adjudicators))[answers.reviewer]
    adjudicated = np.bincount(answers.pair[above], minlength=len(answers.pairs)) > 0
    voting = above | ~adjudicated[answers.pair]
    cell = 2 * answers.pair[voting] + answers.same[voting]
    return np.bincount(cell, minlength=2 * len(answers.pairs)).reshape(-1, 2)
