"""What is minimised: named losses of a batch, with the state they keep."""

from typing import Any

from torch import Tensor, nn

from mmprod.encoders.training.batch import Batch


class Objective(nn.Module):
    """A sum of losses. What it keeps between steps (momentum twin, queue) is in its state_dict, so in
    checkpoints; none of it takes gradients."""

    def forward(self, model: Any, batch: Batch, step: int) -> dict[str, Tensor]:
        """The losses by name, scalars; their sum is minimised. `step` counts from 1."""
        raise NotImplementedError

    def after_step(self, model: Any, step: int) -> None:
        """Called once the optimiser has moved the model."""
