"""From many answers to one verdict per pair."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import JUDGEMENT, check


@dataclass(frozen=True)
class Verdicts:
    """What reviewers found: `same` by pair_id; `unresolved` are the pairs they are evenly divided on."""

    same: Mapping[str, bool]
    unresolved: tuple[str, ...]


def latest(judgements: pa.Table) -> pa.Table:
    """The last answer of each reviewer on each pair (JUDGEMENT in, JUDGEMENT out), in order of time.

    A corrected upload so replaces the first, and the same upload twice counts once. Of two answers of
    the same time the one further down counts.
    Raises: InputError for a table with other columns.
    """
    check(judgements, JUDGEMENT, "judgements")
    in_time = judgements.take(pc.sort_indices(judgements, sort_keys=[("judged_at", "ascending")]))  # stable
    numbered = in_time.append_column("row", pa.array(range(in_time.num_rows), pa.int64()))
    last = numbered.group_by(["pair_id", "reviewer"]).aggregate([("row", "max")])
    return in_time.take(last.column("row_max").sort())


def decide(judgements: pa.Table) -> Verdicts:
    """The majority of the reviewers' latest answers per pair; a tie is unresolved and used nowhere.

    Raises: InputError for a table with other columns than JUDGEMENT.
    """
    answers = latest(judgements)
    votes = answers.group_by("pair_id").aggregate([("label", "sum"), ("label", "count")])
    names, yes, all_ = (votes.column(n).to_pylist() for n in ("pair_id", "label_sum", "label_count"))
    margins = {name: 2 * y - n for name, y, n in zip(names, yes, all_, strict=True)}
    same = {name: margin > 0 for name, margin in margins.items() if margin}
    return Verdicts(same, tuple(sorted(margins.keys() - same.keys())))
