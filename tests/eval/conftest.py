"""Catalogues of known truth and surveys drawn from them as `eval.survey` draws them, in arrays for speed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR
from mmprod.eval.judged import Judged

BANDS = ((3, 3), (10, 2))


class Catalogue:
    """Strata of anchors with `depth` products from each system; anchors differ in how many are the same."""

    def __init__(self, sizes: Mapping[tuple[str, str], int], quality: Sequence[float], systems=1, seed=0):
        rng = np.random.default_rng(seed)
        self.names = list(sizes)
        self.population = np.array(list(sizes.values()))
        self.stratum = np.repeat(np.arange(len(sizes)), self.population)
        self.category = np.array([category for category, _ in sizes])[self.stratum]
        anchors, self.depth = len(self.stratum), 10
        mean = np.array(quality)[self.stratum]
        own = rng.beta(4 * mean, 4 * (1 - mean))  # correlation within anchors of 1 / (1 + 4)
        found = self.depth if systems == 1 else 16
        better = 0.3 * (0.5 - np.arange(found) / found) if systems == 1 else np.zeros(found)
        self.same = rng.random((anchors, found)) < np.clip(own[:, None] + better, 0, 1)
        self.lists, self.best = [], np.full((anchors, found), self.depth + 1)
        ranks = np.broadcast_to(np.arange(1, self.depth + 1), (anchors, self.depth))
        for system in range(systems):
            score = rng.normal(size=self.same.shape) + system * self.same
            order = np.argsort(-score)[:, : self.depth] if systems > 1 else ranks - 1
            best = np.minimum(np.take_along_axis(self.best, order, 1), ranks)
            np.put_along_axis(self.best, order, best, 1)
            self.lists.append(order)

    def top(self, system: int, k: int) -> np.ndarray:
        """bool[anchors, k]: whether each of the first k is the same."""
        return np.take_along_axis(self.same, self.lists[system], 1)[:, :k]

    def survey(self, rng, size: int, bands=BANDS, answered: float = 1.0) -> Judged:
        drawn = [np.flatnonzero(self.stratum == h) for h in range(len(self.names))]
        drawn = [rng.choice(each, min(size, len(each)), replace=False) for each in drawn]
        weight = np.concatenate(
            [np.full(len(each), n / len(each)) for each, n in zip(drawn, self.population, strict=True)]
        )
        chosen = np.concatenate(drawn)
        ids = np.char.add("a", chosen.astype(str))
        products = np.char.add(np.char.add(ids, "/")[:, None], np.arange(self.same.shape[1]).astype(str))
        i, j, first, pair_weight = self._draw(rng, chosen, bands)
        names = np.char.add("p", products[i, j])
        known = rng.random(len(i)) < answered
        pairs = (names, ids[i], products[i, j], self.best[chosen][i, j], first, pair_weight)
        return Judged(
            self._anchors(chosen, ids, weight),
            pa.concat_tables(self._found(s, chosen, ids, products) for s in range(len(self.lists))),
            _table(pairs, PAIR),
            dict(zip(names[known].tolist(), self.same[chosen[i], j][known].tolist(), strict=True)),
        )

    def _anchors(self, chosen, ids, weight) -> pa.Table:
        strata = self.stratum[chosen]
        category, band = ([self.names[h][i] for h in strata] for i in range(2))
        return _table((ids, [None] * len(ids), category, band, self.population[strata], weight), ANCHOR)

    def _found(self, system, chosen, ids, products) -> pa.Table:
        order = self.lists[system][chosen]
        rank = np.tile(np.arange(1, self.depth + 1), len(ids))
        found = np.take_along_axis(products, order, 1).ravel()
        none = [None] * len(rank)
        names = [f"s{system}"] * len(rank)
        return _table((names, np.repeat(ids, self.depth), found, rank, 1 - rank / 100, none, none), CANDIDATE)

    def _draw(self, rng, chosen, bands):
        best, parts, first = self.best[chosen], [], 1
        for last, many in bands:
            inside = (best >= first) & (best <= last)
            order = np.argsort(np.argsort(np.where(inside, rng.random(best.shape), 2), 1), 1)
            pooled = inside.sum(1)
            taken = np.minimum(pooled, many)
            i, j = np.nonzero(inside & (order < taken[:, None]))
            parts.append((i, j, np.full(len(i), first), pooled[i] / taken[i]))
            first = last + 1
        return (np.concatenate(part) for part in zip(*parts, strict=True))


def _table(columns, schema: pa.Schema) -> pa.Table:
    arrays = [
        pa.array(column, from_pandas=False).cast(field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)


@pytest.fixture(scope="session")
def catalogue_of() -> type[Catalogue]:
    return Catalogue


@pytest.fixture(scope="session")
def judged_of() -> Callable[..., Judged]:
    """A survey in which all was drawn: from lists by system and anchor, and verdicts by anchor/product."""

    def make(lists: Mapping[str, Mapping[str, Sequence[str]]], same: Mapping[str, bool], **columns) -> Judged:
        anchors = sorted(
            {anchor for found in lists.values() for anchor in found} | set(columns.get("anchors", ()))
        )
        category = columns.get("category", {})
        rows = [
            {
                "anchor_id": a,
                "category": category.get(a, "c"),
                "band": "b",
                "population": 9_000,
                "weight": 9_000 / len(anchors),
            }
            for a in anchors
        ]
        candidates = [
            {"system": s, "anchor_id": a, "product_id": p, "rank": r, "score": 1 - r / 100}
            for s, found in lists.items()
            for a, products in found.items()
            for r, p in enumerate(products, 1)
        ]
        best: dict[tuple[str, str], int] = {}
        for row in candidates:
            key = row["anchor_id"], row["product_id"]
            best[key] = min(row["rank"], best.get(key, 99))
        pairs = [
            {"pair_id": f"{a}/{p}", "anchor_id": a, "product_id": p, "rank": r, "rank_band": 1, "weight": 1.0}
            for (a, p), r in best.items()
        ]
        return Judged(
            pa.Table.from_pylist(rows, schema=ANCHOR),
            pa.Table.from_pylist(candidates, schema=CANDIDATE),
            pa.Table.from_pylist(pairs, schema=PAIR),
            same,
        )

    return make
