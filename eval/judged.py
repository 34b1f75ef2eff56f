"""A survey with its verdicts, and the joins that all figures need, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR, check
from mmprod.eval.estimate import Ints, totals
from mmprod.eval.joins import codes, match, places, refuse_cut_lists, refuse_repeated
from mmprod.eval.judged_arrays import UNJUDGED, Lists, Pool, Sample
from mmprod.storage.errors import InputError


@dataclass(frozen=True, eq=False)
class Judged:
    """A survey and the verdicts on its pairs.

    Args:
        anchors: ANCHOR, a stratified sample with its weights.
        candidates: CANDIDATE, each system's complete lists for these anchors, down to the pooled depth.
        pairs: PAIR, drawn from the pool of all systems' candidates by anchor and rank band.
        same: the verdict by pair_id; pairs without one are unjudged, verdicts on other pairs are ignored.
    Raises: InputError for other columns, repeated or unknown anchors, strata with fewer anchors than were
    drawn, lists whose ranks aren't 1 to n, repeated products, pairs without a candidate.
    """

    anchors: pa.Table
    candidates: pa.Table
    pairs: pa.Table
    same: Mapping[str, bool]

    def __post_init__(self) -> None:
        check(self.anchors, ANCHOR, "anchors")
        check(self.candidates, CANDIDATE, "candidates")
        check(self.pairs, PAIR, "pairs")
        for name in ("weight", "population"):
            if self.anchors.num_rows and not pc.min(self.anchors.column(name)).as_py() > 0:
                raise InputError(f"anchors: a {name} is {pc.min(self.anchors.column(name))}, want above 0")
        refuse_repeated(self._anchor_codes(self.anchors, "anchors"), "an anchor comes twice in the sample")
        refuse_repeated(self._pair_keys, "an anchor and a product make two pairs")
        lists = codes(self.candidates.column("system"))[0] * self.anchors.num_rows + self._anchor_of
        refuse_cut_lists(self.candidates, lists)
        products = self._keys % max(len(self._products), 1)
        refuse_repeated(lists * len(self._products) + products, "a product comes twice in a list")
        self._refuse_other_pairs()

    def _refuse_other_pairs(self) -> None:
        lost = np.flatnonzero(match(self._pair_keys, self._keys) < 0)
        if len(lost):
            row = self.pairs.slice(int(lost[0]), 1).to_pylist()[0]
            raise InputError(
                f"pairs: no system found product {row['product_id']!r} for anchor {row['anchor_id']!r}; "
                "are pairs and candidates of the same survey?"
            )

    @cached_property
    def systems(self) -> tuple[str, ...]:
        """The systems that have candidates, in order of name."""
        return tuple(sorted(self.candidates.column("system").unique().to_pylist()))

    @cached_property
    def sample(self) -> Sample:
        """The anchors as arrays."""
        category, categories = codes(self.anchors.column("category"))
        band, bands = codes(self.anchors.column("band"))
        strata, stratum = np.unique(category * len(bands) + band, return_inverse=True)
        population = self.anchors.column("population").to_numpy().astype(np.float64)
        drawn = np.bincount(stratum, minlength=len(strata))[stratum]
        if (drawn > population).any():
            worst = int(np.argmax(drawn - population))
            raise InputError(
                f"anchors: {drawn[worst]} of {categories[category[worst]]!r}, {bands[band[worst]]!r} were "
                f"drawn, but its population is said to be {population[worst]:g}"
            )
        return Sample(
            self.anchors.column("anchor_id").to_pylist(),
            self.anchors.column("weight").to_numpy(),
            population,
            stratum.astype(np.int64),
            category,
            band,
            categories,
            bands,
        )

    @cached_property
    def pool(self) -> Pool:
        """The drawn pairs as arrays, and the (anchor, rank band) parts from which they were drawn."""
        anchor = self._anchor_codes(self.pairs, "pairs")
        first = self.pairs.column("rank_band").to_numpy().astype(np.int64)
        deepest = int(first.max(initial=0)) + 1
        parts, place, part = np.unique(anchor * deepest + first, return_index=True, return_inverse=True)
        answers = (self.same.get(name, UNJUDGED) for name in self.pairs.column("pair_id").to_pylist())
        verdict = np.fromiter(answers, np.int8, len(anchor))
        size = np.rint(totals(part, self.pairs.column("weight").to_numpy(), len(parts)))
        if (np.bincount(part, minlength=len(parts)) > size).any():
            raise InputError("pairs: the weights of a rank band's pairs sum to less than there are pairs")
        judged = totals(part, verdict != UNJUDGED, len(parts))
        return Pool(anchor, verdict, part.astype(np.int64), size, judged, anchor[place], first[place])

    @property
    def depth(self) -> int:
        """The pooled depth: the last rank down to which every candidate could have been drawn."""
        return min(self._missed - 1, int(self.candidates.column("rank").to_numpy().max(initial=0)))

    def covers(self, k: int) -> bool:
        """Whether all candidates down to rank `k` could have been drawn."""
        return k < self._missed

    @cached_property
    def listed(self) -> NDArray[np.bool_]:
        """bool[anchors]: whether any system found something for the anchor."""
        return np.bincount(self._anchor_of, minlength=self.anchors.num_rows) > 0

    @cached_property
    def _missed(self) -> int:
        """The best rank of the first candidate that could not have been drawn."""
        anchor, best, _ = self._pooled
        order = np.lexsort((best, anchor))
        start = np.searchsorted(anchor[order], np.arange(self.anchors.num_rows))
        covered = totals(self.pool.of, self.pool.size, self.anchors.num_rows)
        beyond = np.arange(len(order)) - start[anchor[order]] >= covered[anchor[order]]
        return int(best[order][beyond].min(initial=np.iinfo(np.int64).max))

    @cached_property
    def band_firsts(self) -> Ints:
        """The first ranks of the survey's rank bands, ascending; `Lists.band` is an index into it."""
        return np.asarray(self.pairs.column("rank_band").unique().sort().to_numpy(), np.int64)

    def finished(self, k: int, least: int | None = None) -> NDArray[np.bool_]:
        """bool[anchors]: whether every rank band that begins at rank `k` or above has enough verdicts.

        Enough are verdicts on all products pooled in it, or, if given, on `least` of them.
        """
        pool = self.pool
        wanted = pool.size if least is None else np.minimum(pool.size, least)
        lacking = (pool.judged < wanted) & (pool.first <= k)
        return ~np.isin(np.arange(self.anchors.num_rows), pool.of[lacking])

    def lists(self, system: str) -> Lists:
        """The ranked lists of one system. Raises: InputError for a system without candidates."""
        if system not in self.systems:
            raise InputError(f"no candidates of system {system!r}; there are {', '.join(self.systems)}")
        if system not in self._lists:
            self._lists[system] = self._listed(system)
        return self._lists[system]

    def _listed(self, system: str) -> Lists:
        mine = np.flatnonzero(pc.equal(self.candidates.column("system"), system).to_numpy())
        rank = self.candidates.column("rank").to_numpy()[mine]
        anchor = self._anchor_of[mine]
        order = np.lexsort((rank, anchor))
        row = mine[order]
        pair = self._pair_of[row]
        verdict = np.append(self.pool.verdict, np.int8(UNJUDGED))[pair]  # index -1 is the last, UNJUDGED
        _, best, inverse = self._pooled
        band = np.searchsorted(self.band_firsts, best[inverse[row]], "right") - 1
        return Lists(anchor[order], rank[order].astype(np.int64), verdict, np.maximum(band, 0), pair, row)

    @cached_property
    def _lists(self) -> dict[str, Lists]:
        return {}

    @cached_property
    def _products(self) -> pa.Array:
        return self.candidates.column("product_id").unique()

    @cached_property
    def _anchor_of(self) -> Ints:
        return self._anchor_codes(self.candidates, "candidates")

    @cached_property
    def _keys(self) -> Ints:
        """A number for the (anchor, product) of each candidate, equal for all systems."""
        return self._anchor_of * len(self._products) + self._product_codes(self.candidates, "candidates")

    @cached_property
    def _pair_keys(self) -> Ints:
        anchor = self._anchor_codes(self.pairs, "pairs")
        return anchor * len(self._products) + self._product_codes(self.pairs, "pairs")

    @cached_property
    def _pair_of(self) -> Ints:
        """The row in PAIR of each candidate, -1 if it was not drawn."""
        return match(self._keys, self._pair_keys)

    @cached_property
    def _pooled(self) -> tuple[Ints, Ints, Ints]:
        """Each pooled product once: its anchor, its best rank in any system; and each candidate's product."""
        keys, inverse = np.unique(self._keys, return_inverse=True)
        best = np.full(len(keys), np.iinfo(np.int64).max)
        np.minimum.at(best, inverse, self.candidates.column("rank").to_numpy())
        return keys // max(len(self._products), 1), best, inverse

    def _anchor_codes(self, table: pa.Table, name: str) -> Ints:
        return places(table.column("anchor_id"), self.anchors.column("anchor_id"), f"{name}: anchor")

    def _product_codes(self, table: pa.Table, name: str) -> Ints:
        return places(table.column("product_id"), self._products, f"{name}: product")
