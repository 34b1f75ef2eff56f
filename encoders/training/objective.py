"""The interface of training objectives: named losses of a batch, and the state kept between steps."""

from typing import Any

from torch import Tensor, nn

from mmprod.encoders.training.batch import Batch


class Objective(nn.Module):
    """A sum of losses. Its state between steps (momentum twin, queue) is in its state_dict, and so in
    checkpoints; it has no trainable parameters."""

    def forward(self, model: Any, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalar losses by name; their sum is minimised. `step` counts from 1."""
        raise NotImplementedError

    def after_step(self, model: Any, step: int) -> None:
        """Called after the optimiser has updated the model."""
