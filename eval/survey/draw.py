"""The draw: anchors from their strata, what systems found for them, and the pairs to ask about."""

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
    """The planned number of anchors of each stratum: those first in its queue.

    `recall` is the table the frame was made of, read again for the ids alone, since a frame keeps none.
    Returns: ANCHOR sorted by category, band and id; `text` is null. In every stratum the weights add up
    to its population.
    Raises: InputError for a plan of other strata and a recall table that is not the frame's.
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
    """What `system` found for the anchors of a survey, down to rank `depth`.

    `recall` is any system's table (RECALL, batches in any order); anchors that are not in it have no
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
    """The pairs to ask about: in each rank band of each anchor those with the smallest random numbers.

    Args:
        candidates: CANDIDATE of all systems; a product's rank is the best that any of them gave it.
        rank_bands: what is asked about of which ranks; products beyond the last band are left out.
        shown_of: ids of products and anchors to what is shown of each (see pair), asked once.
        seed: of the random numbers, which belong to pair_ids: as long as a pair stays in its band and what
            is shown stays the same, a later survey draws it again as far as it can.

    Returns: PAIR sorted by anchor, rank and product. The weights of an anchor's band add up to the pairs
    that are in it. Two products that are anchors and found each other are two rows of one pair_id.
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
    """The places of the drawn anchors, and which stratum of the frame each is of."""
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
    """Raise InputError unless every anchor has ranks from 1, each once, other products, each once."""
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
    """The `many` rows of smallest number in each group, and for each how many of its group it stands for."""
    order = np.lexsort((numbers, group))
    _, start, code, size = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
    taken = np.minimum(size[code], many[order])
    first = np.arange(len(order)) - start[code] < taken
    return order[first], (size[code] / taken)[first]
