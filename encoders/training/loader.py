"""Loading of training batches, in this process or in spawned workers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from mmprod.encoders.training.batch import Batch
from mmprod.encoders.training.sampler import Row, Sampler


class Pictures(Protocol):
    """Augmented pictures: (epoch, row) to uint8 [3, s, s], determined by both. Must be picklable."""

    def __getitem__(self, at: Row) -> np.ndarray: ...


class Loader:
    """Loads this process's part of each batch of a sampler.

    `identity` int64 [n, 3]; `tokenize` converts titles to tokens [n, L]. Workers are spawned, since a forked
    process must not use its parent's LMDB environment.
    """

    def __init__(
        self,
        pictures: Pictures,
        titles: Sequence[str],
        identity: np.ndarray,
        tokenize: Callable[[list[str]], torch.Tensor],
        workers: int = 0,
    ) -> None:
        self.pictures, self.titles, self.tokenize = pictures, titles, tokenize
        self.identity, self.workers = torch.from_numpy(identity), workers

    def batches(
        self, sampler: Sampler, first: int, last: int, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        """The batches of steps `first` to `last`: of each, the `rank`-th of `world` equal parts."""
        part = Part(sampler, first, last, rank, world)
        workers: dict[str, Any] = {}
        if self.workers:
            workers = {"num_workers": self.workers, "multiprocessing_context": "spawn", "prefetch_factor": 4}
        loaded: DataLoader[Any] = DataLoader(
            self.pictures,  # type: ignore[arg-type]  # torch asks for its own class, and needs only [ ]
            batch_sampler=part,
            collate_fn=stack,
            **workers,
        )
        for step, pictures in zip(part, loaded, strict=True):
            numbers = [row for _, row in step]
            tokens = self.tokenize([self.titles[row] for row in numbers])
            yield Batch(pictures, tokens, self.identity[numbers])


@dataclass(frozen=True)
class Part:
    """One process's share of the batches of steps `first` to `last`; can be iterated repeatedly."""

    sampler: Sampler
    first: int
    last: int
    rank: int
    world: int

    def __iter__(self) -> Iterator[list[Row]]:
        size = self.sampler.size // self.world
        for step in self.sampler.steps(self.first, self.last):
            yield step[self.rank * size : (self.rank + 1) * size]


def stack(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """Stack pictures uint8 [3, s, s] to uint8 [n, 3, s, s]."""
    return torch.from_numpy(np.stack(pictures))
