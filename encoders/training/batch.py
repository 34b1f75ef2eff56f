"""A training batch: pictures, tokens, and the identity of each pair."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """n pairs of a picture and a title.

    `pictures` uint8 [n, 3, s, s], augmented; `tokens` int64 [n, L], padded to the longest of the batch;
    `identity` int64 [n, 3]: numbers of item, picture and title, -1 where unknown.
    """

    pictures: Tensor
    tokens: Tensor
    identity: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, start: int, stop: int) -> "Batch":
        """The pairs `start` to `stop` - 1."""
        return Batch(self.pictures[start:stop], self.tokens[start:stop], self.identity[start:stop])

    def to(self, device: str) -> "Batch":
        """A copy on another device."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in vars(self)}
        return replace(self, **moved)


def pixels(pictures: Tensor, model: Any) -> Tensor:
    """Normalise uint8 [n, 3, s, s] to float32 with the mean and deviation of `model`'s preprocessing."""
    config = model.visual.preprocess_cfg
    mean = 255 * torch.tensor(config["mean"], device=pictures.device).view(1, 3, 1, 1)
    deviation = 255 * torch.tensor(config["std"], device=pictures.device).view(1, 3, 1, 1)
    return ((pictures.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)
