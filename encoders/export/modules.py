"""The two towers as exportable modules: raw tensors in, unit vectors out.

Pictures are passed as uint8 pixels, so that a client of the engine can't forget mean and deviation or apply
them twice. Tokens are int64, padded only to the longest title of the batch where that is exact.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor, nn
from torch.export import Dim

from mmprod.encoders import towers
from mmprod.encoders.export.spec import INPUTS
from mmprod.encoders.pixels import Normalise, picture_size

SHORTEST = 2  # tokens: a start and an end


class ImageTower(nn.Module):
    """uint8 [n, 3, height, width] → float32 [n, d] of unit length."""

    input_name = INPUTS["image"]

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.normalise = Normalise(model)

    def forward(self, pictures: Tensor) -> Tensor:
        return F.normalize(self.model.encode_image(self.normalise(pictures)).float(), dim=-1)

    def example(self) -> Tensor:
        """An input to trace with."""
        return torch.zeros(3, 3, *picture_size(self.model), dtype=torch.uint8)

    def dynamic(self) -> dict[int, Any]:
        """Which dimensions of the input may vary."""
        return {0: Dim("pictures")}


class TextTower(nn.Module):
    """int64 tokens [n, L] → float32 [n, d] of unit length; `shortest` ≤ L ≤ `longest`.

    Any L from 2 if the amount of padding has no effect (see `mmprod.encoders.towers`); a single length for a
    tower in which padding has an effect, such as SigLIP's.
    """

    input_name = INPUTS["text"]

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.longest = int(tokenizer.context_length)
        trims = towers.lengths(model, tokenizer([""])).item() < self.longest
        self.shortest = SHORTEST if trims else self.longest

    def forward(self, tokens: Tensor) -> Tensor:
        return F.normalize(towers.encode_text(self.model, tokens).float(), dim=-1)

    def example(self) -> Tensor:
        """An input to trace with."""
        return torch.ones(3, max(self.shortest, self.longest // 2), dtype=torch.int64)

    def dynamic(self) -> dict[int, Any]:
        """Which dimensions of the input may vary."""
        if self.shortest == self.longest:
            return {0: Dim("titles")}
        return {0: Dim("titles"), 1: Dim("length", min=self.shortest, max=self.longest)}
