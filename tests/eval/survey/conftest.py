"""A small catalogue of skewed categories and sales, and recall tables over it in batches of any size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import pyarrow as pa
import pytest

from mmprod.datasets.schemas import RECALL
from mmprod.eval.survey.frame import Facts, Frame

Row = tuple[str, str, int]  # anchor, product, rank


def _batches(rows: Sequence[Row], size: int = 1000) -> Iterator[pa.RecordBatch]:
    """Batches of RECALL of `size` rows each."""
    for start in range(0, len(rows), size):
        anchors, products, ranks = zip(*rows[start : start + size], strict=True)
        scores = pa.array([1 - rank / 1000 for rank in ranks], pa.float32())
        nulls = pa.nulls(len(ranks), pa.float32())
        columns = [pa.array(anchors), pa.array(products), pa.array(ranks, pa.int32()), scores, scores, nulls]
        yield pa.record_batch(columns, schema=RECALL)


def _lists(anchors: Iterable[str], depth: int, system: str = "") -> list[Row]:
    """`depth` neighbours of each anchor; another system finds every second product of the first."""
    return [
        (anchor, f"{anchor}/{rank}{system if rank % 2 else ''}", rank)
        for anchor in anchors
        for rank in range(1, depth + 1)
    ]


@dataclass(frozen=True)
class Catalogue:
    """Anchors with known facts: of three, two are in Home, one in Shoes; 3 % have no category."""

    anchors: tuple[str, ...]
    facts: dict[str, Facts] = field(repr=False)

    def facts_of(self, ids: list[str]) -> list[Facts]:
        return [self.facts[name] for name in ids]

    def frame(self, rows: Sequence[Row], seed: int = 1, level: int = 1, size: int = 1000) -> Frame:
        return Frame.of(_batches(rows, size), self.facts_of, seed, level, (0.1, 0.5))


@pytest.fixture(scope="session")
def batches_of() -> Callable[..., Iterator[pa.RecordBatch]]:
    return _batches


@pytest.fixture(scope="session")
def lists() -> Callable[..., list[Row]]:
    return _lists


@pytest.fixture(scope="session")
def catalogue() -> Callable[[int], Catalogue]:
    def make(count: int) -> Catalogue:
        random = Random(count)
        names = tuple(f"{random.randrange(10**9):09d}-{i}" for i in range(count))
        facts = {name: Facts(_category(i), _sales(i, random)) for i, name in enumerate(names)}
        return Catalogue(names, facts)

    return make


def _category(i: int) -> str:
    if i % 100 < 3:
        return ""
    return ("Home > Lamps", "Home > Chairs", "Shoes")[i % 3]


def _sales(i: int, random: Random) -> int | None:
    return None if i % 7 == 0 else int(random.paretovariate(0.8))
