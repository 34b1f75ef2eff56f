"""Draws anchors from their strata, collects the systems' candidates, and draws the pairs to ask about."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR, RECALL, check
from mmprod.eval.survey.frame import Frame
from mmprod.eval.survey.pair_ids import pair_id
from mmprod.eval.survey.permanent_random import places
from mmprod.eval.survey.plan import Plan
from mmprod.storage.errors import InputError

RankBands = Sequence[tuple[int, int]]
"""(last rank, how many): ((3, 3), (10, 2)) asks about 3 of ranks 1–3 and 2 of ranks 4–10."""


def draw_anchors(frame: Frame, plan: Plan, recall: Iterable[pa.RecordBatch]) -> pa.Table:
    """Draw the planned number of anchors of each stratum: the first ones in its queue.

    `recall`: the table from which the frame was made, read again for the ids, which the frame does not keep.
    Returns: ANCHOR sorted by category, band and id; `text` is null. In every stratum the weights add up
    to its population.
    Raises: InputError for a plan of other strata and for another recall table than the frame's.
    """
    drawn, stratum = _first_in_queue(frame, plan)
    order = np.argsort(drawn)
    drawn, stratum = drawn[order], stratum[order]
    ids: list[str] = []
    found: list[NDArray[np.intp]] = []
    for batch in recall:
        check(batch, RECALL, "recall table")
        names = batch.filter(pc.equal(batch.column("rank"), 1)).column("anchor_id")
        numbers = places(names.to_pylist(), frame.seed)
        place = np.minimum(np.searchsorted(drawn, numbers), len(drawn) - 1)
        mine = drawn[place] == numbers
        ids += names.filter(pa.array(mine)).to_pylist()
        found.append(place[mine])
    if sorted(np.concatenate(found).tolist() if found else []) != list(range(len(drawn))):
        raise InputError(
            f"recall table: {len(ids)} of the {len(drawn)} anchors drawn are in it: "
            "has it changed since the frame was made?"
        )
    return _anchor_table(frame, plan, ids, stratum[np.concatenate(found)])


def take_candidates(system: str, recall: Iterable[pa.RecordBatch], anchors: pa.Table, depth: int) -> pa.Table:
    """The candidates that `system` found for the anchors of a survey, down to rank `depth`.

    `recall`: the system's recall table (RECALL, batches in any order); anchors that are not in it have no
    candidates. Returns: CANDIDATE sorted by anchor and rank.
    Raises: InputError for a depth below 1, other tables, missing or repeated ranks, a product twice or an
    anchor found for itself.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}, want at least 1")
    check(anchors, ANCHOR, "anchors")
    wanted = anchors.column("anchor_id").combine_chunks()
    parts = []
    for batch in recall:
        check(batch, RECALL, "recall table")
        top = batch.filter(pc.less_equal(batch.column("rank"), depth))
        parts.append(top.filter(pc.is_in(top.column("anchor_id"), value_set=wanted)))
    rows = pa.Table.from_batches(parts, schema=RECALL)
    rows = rows.sort_by([("anchor_id", "ascending"), ("rank", "ascending")])
    _check_lists(rows)
    named = rows.add_column(0, CANDIDATE.field("system"), pa.repeat(pa.scalar(system), rows.num_rows))
    return named.select(CANDIDATE.names).cast(CANDIDATE)


def draw_pairs(
    candidates: pa.Table, rank_bands: RankBands, shown_of: Callable[[list[str]], list[str]], seed: int
) -> pa.Table:
    """Draw the pairs to ask about: in each rank band of each anchor those with the smallest random numbers.

    Args:
        candidates: CANDIDATE of all systems; a product's rank is its best rank in any system.
        rank_bands: how many pairs to draw from which ranks; products beyond the last band are left out.
        shown_of: maps ids of products and anchors to what is shown of each (see pair_id); called once.
        seed: of the random numbers, which depend on pair_ids only: if a pair stays in its band and looks
            the same, a later survey draws it again as far as possible.
    Returns: PAIR sorted by anchor, rank and product. The weights of an anchor's band sum to the number of
    pairs in it. If two anchors found each other, they are two rows with one pair_id.
    Raises: InputError for another table and for bands that do not ascend or ask about nothing.
    """
    check(candidates, CANDIDATE, "candidates")
    last, many = _checked(rank_bands)
    pool = candidates.group_by(["anchor_id", "product_id"]).aggregate([("rank", "min")])
    pool = pool.filter(pc.less_equal(pool.column("rank_min"), int(last[-1]))).combine_chunks()
    names = _pair_ids(pool, shown_of)
    band = np.searchsorted(last, pool.column("rank_min").to_numpy())
    anchor = pool.column("anchor_id").combine_chunks().dictionary_encode().indices.to_numpy()
    rows, weight = _first_of_each(anchor * len(last) + band, places(names, seed), many[band])
    first_rank = np.concatenate([[1], last[:-1] + 1])
    columns = {
        "pair_id": pa.array(names, pa.string()).take(pa.array(rows)),
        "anchor_id": pool.column("anchor_id").take(rows),
        "product_id": pool.column("product_id").take(rows),
        "rank": pool.column("rank_min").take(rows),
        "rank_band": first_rank[band[rows]].astype(np.int32),
        "weight": weight,
    }
    pairs = pa.table(columns, schema=PAIR)
    return pairs.sort_by([(name, "ascending") for name in ("anchor_id", "rank", "product_id")])


def _first_in_queue(frame: Frame, plan: Plan) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The queue numbers of the drawn anchors, and the index of each one's stratum."""
    if {(s.category, s.band) for s in frame.strata} != set(plan.anchors):
        raise InputError(f"a plan of {len(plan.anchors)} strata for other {len(frame.strata)} of the frame")
    ends = np.cumsum([s.population for s in frame.strata])
    drawn, stratum = [], []
    for i, s in enumerate(frame.strata):
        start, count = ends[i] - s.population, plan.anchors[s.category, s.band]
        if not 1 <= count <= s.population:
            raise InputError(
                f"{count} anchors of {s.category!r}, {s.band!r} planned, there are {s.population}"
            )
        drawn.append(frame.queue[start : start + count])
        stratum.append(np.full(count, i))
    return np.concatenate(drawn), np.concatenate(stratum)


def _anchor_table(frame: Frame, plan: Plan, ids: list[str], stratum: NDArray[np.int64]) -> pa.Table:
    counts = [plan.anchors[s.category, s.band] for s in frame.strata]
    rows = sorted((int(i), name) for i, name in zip(stratum, ids, strict=True))
    strata = [frame.strata[i] for i, _ in rows]
    columns = {
        "anchor_id": [name for _, name in rows],
        "text": [None] * len(rows),
        "category": [s.category for s in strata],
        "band": [s.band for s in strata],
        "population": [s.population for s in strata],
        "weight": [s.population / counts[i] for s, (i, _) in zip(strata, rows, strict=True)],
    }
    return pa.table(columns, schema=ANCHOR)


def _check_lists(rows: pa.Table) -> None:
    """Raise InputError unless every anchor has ranks 1 to n, and distinct products other than itself."""
    anchor = rows.column("anchor_id").combine_chunks().dictionary_encode().indices.to_numpy()
    rank = rows.column("rank").to_numpy()
    starts = np.flatnonzero(np.diff(anchor, prepend=-1))  # rows are sorted: codes ascend
    want = np.arange(len(anchor)) - starts[anchor] + 1 if len(anchor) else rank
    if (rank != want).any():
        bad = rows.column("anchor_id")[int(np.flatnonzero(rank != want)[0])].as_py()
        ranks = rows.filter(pc.equal(rows.column("anchor_id"), bad)).column("rank").to_pylist()
        raise InputError(
            f"recall table: anchor {bad!r} has ranks {ranks[:20]}, want 1 to {len(ranks)} once each: "
            "was the table written twice or cut?"
        )
    own = rows.filter(pc.equal(rows.column("anchor_id"), rows.column("product_id")))
    if own.num_rows:
        bad = own.column("anchor_id")[0].as_py()
        raise InputError(
            f"recall table: anchor {bad!r} is found for itself: leave anchors out of their lists"
        )
    counts = rows.group_by(["anchor_id", "product_id"]).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts.column("count_all"), 1)).to_pylist()
    if twice:
        raise InputError(
            f"recall table: product {twice[0]['product_id']!r} comes {twice[0]['count_all']} times "
            f"for anchor {twice[0]['anchor_id']!r}, want once"
        )


def _checked(rank_bands: RankBands) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    last, many = [last for last, _ in rank_bands], [many for _, many in rank_bands]
    if not last or any(low >= high for low, high in zip([0, *last], last, strict=False)) or min(many) < 1:
        raise InputError(
            f"rank bands are {list(rank_bands)}: want (last rank, how many), last ranks ascending from 1, "
            "at least one of each"
        )
    return np.array(last), np.array(many)


def _pair_ids(pool: pa.Table, shown_of: Callable[[list[str]], list[str]]) -> list[str]:
    anchors, products = (pool.column(name).to_pylist() for name in ("anchor_id", "product_id"))
    ids = sorted({*anchors, *products})
    side = {name: (name, shown) for name, shown in zip(ids, shown_of(ids), strict=True)}
    return [pair_id(side[a], side[b]) for a, b in zip(anchors, products, strict=True)]


def _first_of_each(
    group: NDArray[np.int64], numbers: NDArray[np.uint64], many: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The `many` rows with the smallest numbers of each group, and how many rows each represents."""
    order = np.lexsort((numbers, group))
    _, start, code, size = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
    taken = np.minimum(size[code], many[order])
    first = np.arange(len(order)) - start[code] < taken
    return order[first], (size[code] / taken)[first]
