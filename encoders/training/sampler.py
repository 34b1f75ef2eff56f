"""Sampling of batches: a pure function of seed, epoch and step, so that resuming needs no stored state."""

from collections.abc import Iterator

import numpy as np

from mmprod.storage.errors import InputError

Row = tuple[int, int]
"""(epoch, number of the pair)."""


class Sampler:
    """Batches of `size` pairs for every step, in a new order each epoch.

    A remainder smaller than a batch is left out of that epoch. With `items` (int64 [n], -1 unknown), up to
    `per_item` listings of an item are placed next to each other.
    Raises: InputError when there are fewer pairs than a batch needs.
    """

    def __init__(
        self, pairs: int, size: int, seed: int, items: np.ndarray | None = None, per_item: int = 2
    ) -> None:
        if pairs < size:
            raise InputError(
                f"{pairs} training pairs are fewer than a batch of {size}; lower --batch-size or select more"
            )
        self.pairs, self.size, self.seed = pairs, size, seed
        self.items, self.per_item = items, per_item

    def steps(self, first: int, last: int) -> Iterator[list[Row]]:
        """The batches of the steps `first` to `last`, both included, from 1."""
        per_epoch = self.pairs // self.size
        order, at = None, -1
        for step in range(first - 1, last):
            epoch, place = divmod(step, per_epoch)
            if epoch != at:
                order, at = self._order(epoch), epoch
            rows = order[place * self.size : (place + 1) * self.size]  # type: ignore[index]
            yield [(epoch, int(row)) for row in rows]

    def _order(self, epoch: int) -> np.ndarray:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.pairs)
        return order if self.items is None else _together(order, self.items, self.per_item)


def _together(order: np.ndarray, items: np.ndarray, per_item: int) -> np.ndarray:
    """The same rows; rows of an item are moved next to the first of their group of `per_item`."""
    groups: dict[int, list[list[int]]] = {}
    arranged: list[list[int]] = []
    for row in order.tolist():
        item = int(items[row])
        known = groups.setdefault(item, []) if item >= 0 else []
        if known and len(known[-1]) < per_item:
            known[-1].append(row)
        else:
            known.append([row])
            arranged.append(known[-1])
    return np.array([row for group in arranged for row in group])
