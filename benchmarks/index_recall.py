"""What the index of a large catalogue gives up for its speed, against exact search.

    python benchmarks/index_recall.py [--vectors 200000] [--width 256] [--queries 512]

Vectors are drawn around random centres, as products gather in kinds; queries are noisy copies of them. Times
one search of all queries by exact flat search and by the `auto` index at several numbers of lists.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from mmprod.retrieval import approximate, index

K, ROUNDS, CENTRES, NOISE = 10, 5, 5_000, 1.0


def catalogue(count: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors float32 (count, width), each the sum of a unit centre and noise of length about NOISE."""
    centres = unit(rng.standard_normal((CENTRES, width), np.float32))
    noise = rng.standard_normal((count, width), np.float32) * np.float32(NOISE / np.sqrt(width))
    return unit(centres[rng.integers(CENTRES, size=count)] + noise)


def unit(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def median_seconds(search: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        search()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--queries", type=int, default=512)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    base = catalogue(given.vectors, given.width, rng)
    noise = rng.standard_normal((given.queries, given.width), np.float32) * 0.5 / given.width**0.5
    queries = unit(base[rng.choice(given.vectors, given.queries, replace=False)] + noise.astype(np.float32))

    flat = index.build([base], given.width, given.vectors, "Flat")
    _, wanted = approximate.search(flat, queries, K, 1)
    seconds = median_seconds(partial(approximate.search, flat, queries, K, 1))
    print(f"{'Flat':30}{given.queries / seconds:10,.0f} queries/s   recall@{K} 1.000")

    factory = index.resolve_factory("auto", given.width, given.vectors)
    started = time.perf_counter()
    lists = index.build([base], given.width, given.vectors, factory)
    built = time.perf_counter() - started
    default = index.lists_probed(lists)
    for nprobe in sorted({default, *(max(1, default >> shift) for shift in (1, 2, 3, 4))}):
        _, found = approximate.search(lists, queries, K, nprobe)
        hits = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, wanted, strict=True)])
        took = median_seconds(partial(approximate.search, lists, queries, K, nprobe))
        mark = " (default)" if nprobe == default else ""
        print(
            f"{f'{factory}, {nprobe} lists{mark}':30}{given.queries / took:10,.0f} queries/s"
            f"   recall@{K} {hits:.3f}   {seconds / took:.1f}x flat"
        )
    print(f"built in {built:.1f} s")


if __name__ == "__main__":
    main()
