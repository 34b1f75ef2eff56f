"""Which pairs reviewers are asked about: a seeded, stratified sample of anchors and their top neighbours."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.errors import InputError
from mmprod.datasets.schemas import PAIR, RECALL, check

NO_CATEGORY = "(no category)"
_LEVELS = " > "  # as mmprod.datasets.schemas.category_path joins them

_Row = tuple[int, str, float]  # rank, product_id, score


def pair_id(anchor_id: str, product_id: str) -> str:
    """The name of the question "is this product the same as this anchor?", from its two ids alone.

    "p" and 20 hex digits of blake2b; the letter keeps spreadsheets from taking it for a number. The
    other way round is another question: ``pair_id(a, b) != pair_id(b, a)``.
    """
    content = f"{len(anchor_id)}:{anchor_id}{product_id}".encode()
    return "p" + blake2b(content, digest_size=10).hexdigest()


def stratum_of(category: str, level: int) -> str:
    """The widest `level` levels of a category path: ``("Home > Lighting > Lamps", 1)`` is ``"Home"``."""
    return _LEVELS.join(category.split(_LEVELS)[:level]) or NO_CATEGORY


def sample_pairs(
    recall: Iterable[pa.RecordBatch],
    category_of: Callable[[list[str]], list[str]],
    anchors_per_category: int,
    per_anchor: int,
    seed: int,
    level: int = 1,
) -> pa.Table:
    """The top `per_anchor` neighbours of up to `anchors_per_category` anchors of every category.

    Args:
        recall: batches of RECALL in any order, read once; every anchor has exactly one row of rank 1.
        category_of: product ids to their category paths, "" where unknown.
        anchors_per_category: sampled anchors of each stratum; all of them where there are fewer.
        per_anchor: ranks asked about, from 1.
        seed: the anchors whose blake2b keyed by it is smallest are taken, so that neither the order of
            rows nor the batches matter, and a new category changes nothing in the others.
        level: category levels that make a stratum; 1 is the widest alone.

    Returns: a table of PAIR sorted by stratum, anchor and rank. `weight` is the anchors of the stratum
    over those sampled (1 / the chance of being asked): weighted figures over the pairs estimate those
    over the top `per_anchor` of the whole recall table.
    Memory: strata x anchors_per_category x per_anchor rows, however long `recall` is.
    Raises: InputError for counts below 1, a recall table with other columns, missing or repeated ranks.
    """
    counts = (("anchors_per_category", anchors_per_category), ("per_anchor", per_anchor), ("level", level))
    for name, value in counts:
        if value < 1:
            raise InputError(f"{name} is {value}, want at least 1")
    key = str(seed).encode()
    strata: defaultdict[str, _Stratum] = defaultdict(lambda: _Stratum(anchors_per_category, key))
    for batch in recall:
        check(batch, RECALL, "recall table")
        top = batch.filter(pc.less_equal(batch.column("rank"), per_anchor))
        anchors = top.column("anchor_id").unique().to_pylist()
        names = (stratum_of(category, level) for category in category_of(anchors))
        _add(top, {anchor: strata[name] for anchor, name in zip(anchors, names, strict=True)})
    rows = [row for name in sorted(strata) for row in strata[name].pairs(name)]
    return pa.Table.from_pylist(rows, schema=PAIR)


class _Stratum:
    """The `size` anchors of smallest key seen so far, with their rows; and how many anchors there are."""

    def __init__(self, size: int, key: bytes) -> None:
        self.anchors = 0
        self._size, self._key = size, key
        self._rows: dict[str, list[_Row]] = {}
        self._places: dict[str, bytes] = {}
        self._last: str | None = None  # the anchor of largest key, once the sample is full

    def admit(self, anchor: str) -> None:
        """Let `anchor` in if its key is small enough. Keys kept only shrink: who is out stays out."""
        if anchor in self._rows:
            return
        place = blake2b(anchor.encode(), digest_size=16, key=self._key).digest()
        if self._last is not None:
            if place > self._places[self._last]:
                return
            del self._rows[self._last], self._places[self._last]
        self._rows[anchor], self._places[anchor] = [], place
        if len(self._rows) == self._size:
            self._last = max(self._places, key=self._places.__getitem__)

    def __contains__(self, anchor: str) -> bool:
        return anchor in self._rows

    def add(self, anchor: str, row: _Row) -> None:
        self._rows[anchor].append(row)

    def pairs(self, stratum: str) -> Iterator[dict[str, object]]:
        weight = self.anchors / len(self._rows)
        for anchor in sorted(self._rows):
            rows = sorted(self._rows[anchor])
            if [rank for rank, _, _ in rows] != list(range(1, len(rows) + 1)):
                raise InputError(
                    f"recall table: anchor {anchor!r} has ranks {[rank for rank, _, _ in rows]}, "
                    f"want 1 to {len(rows)} once each: was the table written twice or cut?"
                )
            for rank, product, score in rows:
                yield {
                    "pair_id": pair_id(anchor, product),
                    "anchor_id": anchor,
                    "product_id": product,
                    "rank": rank,
                    "score": score,
                    "stratum": stratum,
                    "weight": weight,
                }


def _add(top: pa.RecordBatch, stratum: dict[str, _Stratum]) -> None:
    """Take a batch's anchors and rows into their strata. An anchor is counted at its row of rank 1."""
    first = top.filter(pc.equal(top.column("rank"), 1))
    for anchor in first.column("anchor_id").to_pylist():
        stratum[anchor].anchors += 1
    for anchor in stratum:
        stratum[anchor].admit(anchor)
    kept = [anchor for anchor in stratum if anchor in stratum[anchor]]
    rows = top.filter(pc.is_in(top.column("anchor_id"), value_set=pa.array(kept, pa.string())))
    columns = (rows.column(name).to_pylist() for name in ("anchor_id", "rank", "product_id", "score"))
    for anchor, rank, product, score in zip(*columns, strict=True):
        stratum[anchor].add(anchor, (rank, product, score))
