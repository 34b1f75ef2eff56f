"""The sampling frame of a survey: the anchors of each stratum in the order in which they are drawn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmprod.datasets.schemas import RECALL, check
from mmprod.eval.survey.permanent_random import places
from mmprod.eval.survey.strata import Bands, cut
from mmprod.storage.errors import InputError

_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True)
class Facts:
    """The facts that determine an anchor's stratum: category path ("" if unknown) and sales."""

    category: str
    sales: int | None


FactsOf = Callable[[list[str]], list[Facts]]


@dataclass(frozen=True)
class Stratum:
    """The anchors of one category (cut at the survey's level) and sales band, `population` > 0 of them."""

    category: str
    band: str
    population: int


@dataclass(frozen=True, eq=False)
class Frame:
    """All anchors of a recall table by stratum, without their ids: 8 bytes each.

    `strata` are sorted by category, then from the highest sales down. `queue`, uint64[n]: the anchors'
    permanent random numbers (see permanent_random), stratum by stratum, ascending within each.
    """

    strata: tuple[Stratum, ...]
    queue: NDArray[np.uint64]
    bands: Bands
    seed: int

    @classmethod
    def of(
        cls,
        recall: Iterable[pa.RecordBatch],
        facts_of: FactsOf,
        seed: int,
        level: int,
        shares: Sequence[float],
    ) -> "Frame":
        """The frame of a recall table, in one pass.

        Args:
            recall: batches of RECALL in any order; an anchor is counted at its row of rank 1.
            facts_of: maps anchor ids to their facts; called once per batch.
            seed: of the random numbers.
            level: levels of the category that define a stratum; 1: only the widest.
            shares: upper ends of the sales bands, as shares from the top (see Bands.of).
        Memory: 20 bytes per anchor while reading, about 35 while sorting at the end, 8 in the frame.
        Raises: InputError for another table, one without anchors, and impossible ranks: below 1, more rows
            of a rank than of the one before, an anchor twice at rank 1.
        """
        heads = _Heads(level)
        for batch in recall:
            check(batch, RECALL, "recall table")
            heads.add(batch, facts_of, seed)
        heads.check()
        sales, names = _whole(heads.sales), sorted(heads.codes)
        bands = Bands.of(sales, shares)
        cells = [(name, band) for name in names for band in bands.names]
        order = np.argsort([heads.codes[name] for name in names]).astype(np.int32)  # of codes by name
        cell = order[_whole(heads.category)] * np.int32(len(bands.names)) + bands.index(sales)
        del sales
        queue, population = _queue(_whole(heads.places), cell, len(cells))
        strata = (Stratum(*at, int(count)) for at, count in zip(cells, population, strict=True) if count)
        return cls(tuple(strata), queue, bands, seed)


@dataclass
class _Heads:
    """Data of the rows of rank 1, by batch: a uint64, an int32 and a float64 each."""

    level: int
    places: list[NDArray[np.uint64]] = field(default_factory=list)
    category: list[NDArray[np.int32]] = field(default_factory=list)
    sales: list[NDArray[np.float64]] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)  # by rank

    def add(self, batch: pa.RecordBatch, facts_of: FactsOf, seed: int) -> None:
        for count in pc.value_counts(batch.column("rank")).to_pylist():
            self.rows[count["values"]] = self.rows.get(count["values"], 0) + count["counts"]
        first = batch.filter(pc.equal(batch.column("rank"), 1))
        ids = first.column("anchor_id").to_pylist()
        facts = facts_of(ids)
        self.places.append(places(ids, seed))
        self.category.append(self._codes([fact.category for fact in facts]))
        sales = (np.nan if fact.sales is None else fact.sales for fact in facts)
        self.sales.append(np.fromiter(sales, np.float64, len(ids)))

    def _codes(self, categories: list[str]) -> NDArray[np.int32]:
        coded = pa.array(categories, pa.string()).dictionary_encode()
        names = (cut(path, self.level) for path in coded.dictionary.to_pylist())
        codes = np.array([self.codes.setdefault(name, len(self.codes)) for name in names], np.int32)
        rows: NDArray[np.int32] = codes[coded.indices.to_numpy()]
        return rows

    def check(self) -> None:
        """Raise InputError unless the numbers of rows by rank can be those of complete lists."""
        if 1 not in self.rows:
            raise InputError(f"recall table: none of {sum(self.rows.values())} rows has rank 1: no anchors")
        if min(self.rows) < 1:
            raise InputError(f"recall table: a row has rank {min(self.rows)}, want ranks from 1")
        for rank, count in self.rows.items():
            before = self.rows.get(rank - 1, 0)
            if rank > 1 and count > before:
                raise InputError(
                    f"recall table: {count} rows of rank {rank}, but {before} of rank {rank - 1}: "
                    "was the table cut, or written twice in part?"
                )


def _whole(parts: list[NDArray[_T]]) -> NDArray[_T]:
    """The parts as one array; empties `parts` to free memory."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _queue(
    numbers: NDArray[np.uint64], stratum: NDArray[np.int32], strata: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The random numbers sorted within their strata, and the number of anchors of each stratum."""
    population = np.bincount(stratum, minlength=strata)
    queue = numbers[np.argsort(stratum, kind="stable")]
    for part in np.split(queue, np.cumsum(population)[:-1]):  # views: sorted in place
        part.sort()
        if (part[1:] == part[:-1]).any():
            raise InputError("recall table: an anchor has rank 1 twice: was the table written twice?")
    return queue, population
