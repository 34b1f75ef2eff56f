"""The gate before a generation is put in use: recall against exact search, and plausibility checks."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from mmprod.retrieval import approximate, exact
from mmprod.retrieval.components import spans
from mmprod.retrieval.generation import Generation
from mmprod.retrieval.vectors import Collector, check_vectors

QUERIES = 200
K = 10
_CLOSE = 1e-6  # scores that differ by less count as equal


@dataclass(frozen=True)
class Check:
    """One condition: `value` against `limit`."""

    name: str
    value: float
    limit: float
    ok: bool


@dataclass(frozen=True)
class GateReport:
    """The results of all checks that were made."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True when every check is ok."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: {"passed": …, "checks": [{"name", "value", "limit", "ok"}, …]}."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


def gate(
    generation: Generation,
    vectors: Iterable[np.ndarray],
    *,
    min_recall: float = 0.95,
    max_similarity: float = 0.98,
    previous: int | None = None,
    max_shrink: float = 0.3,
    seed: int = 0,
) -> GateReport:
    """Check a generation against the vectors it was built from.

    vectors: blocks (n_i, dim) as given to `build`, read twice. previous: number of products of
    the generation now in use. Checks, in this order; if one of the first three fails, the others are skipped:

    - count: number of vectors; the index must hold as many, and at least one;
    - unusable: number of vectors that are NaN, inf, zero or of norm over 1; none allowed;
    - shrink: lost share of `previous`, at most `max_shrink`;
    - recall@10: for 200 sampled products, the share of the true ten nearest that a search returns (a hit is
      right if its true score reaches the tenth best, so equal vectors are interchangeable);
    - self: share of the sampled products whose search returns them, or an equal vector, among the ten;
    - similarity: mean cosine of pairs of sampled products, by picture or by title, whichever is larger; at
      most `max_similarity`: above, the vectors have collapsed.
    """
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(len(generation), min(QUERIES, len(generation)), replace=False))
    collector = Collector(sample)
    first = _plausible(generation, collector.passing(vectors), previous, max_shrink)
    if not all(check.ok for check in first):
        return GateReport(first)
    queries = collector.rows()
    recall, found = _recall(generation, vectors, queries)
    build = generation.build
    halves = [half for half in spans(build.weights, build.width, build.dim) if half] or [slice(None)]
    similarity = max(_similarity(queries[:, half]) for half in halves)
    return GateReport(
        (
            *first,
            Check(f"recall@{K}", recall, min_recall, recall >= min_recall),
            Check("self", found, min_recall, found >= min_recall),
            Check("similarity", similarity, max_similarity, similarity <= max_similarity),
        )
    )


def _plausible(
    generation: Generation, vectors: Iterable[np.ndarray], previous: int | None, max_shrink: float
) -> tuple[Check, ...]:
    count = unusable = 0
    for block in vectors:
        count += len(block)
        unusable += int((~check_vectors(block, generation.build.dim)[0]).sum())
    held = len(generation)
    shrink = 1 - held / previous if previous else 0.0
    return (
        Check("count", count, held, count == held > 0),
        Check("unusable", unusable, 0, not unusable),
        Check("shrink", shrink, max_shrink, shrink <= max_shrink),
    )


def _recall(
    generation: Generation, vectors: Iterable[np.ndarray], queries: np.ndarray
) -> tuple[float, float]:
    """Recall@10 and self-retrieval, both by true scores, since scores of a lossy index are inexact."""
    _, rows = approximate.search(generation.index, queries, K, generation.build.nprobe)
    collector = Collector(rows.ravel())
    true, _ = exact.search_blocks(queries, collector.passing(vectors), K)
    hits = collector.rows().reshape(*rows.shape, -1)
    scores = np.einsum("qd,qkd->qk", queries, hits, dtype=np.float64)
    own = np.einsum("qd,qd->q", queries, queries, dtype=np.float64)
    right = scores >= true[:, -1:] - _CLOSE
    return float(right.mean()), float((scores.max(axis=1) >= own - _CLOSE).mean())


def _similarity(vectors: np.ndarray) -> float:
    norms = np.linalg.norm(vectors, axis=1)
    unit = vectors[norms > 0] / norms[norms > 0, None]
    cosines = unit @ unit.T
    pairs = cosines[np.triu_indices(len(unit), 1)]
    return float(pairs.mean()) if len(pairs) else 0.0
