"""TensorBoard logs: the scalars of every step, and pictures of search results."""

from pathlib import Path
from types import TracebackType

import torch

from mmprod.datasets.lazy import lazy
from mmprod.encoders.training.trainer import Scalars
from mmprod.storage.errors import InputError

tensorboard = lazy("torch.utils.tensorboard")  # optional


class Board:
    """Writes to a folder that ``tensorboard --logdir`` shows.

    `resumed`: the step from which training continues; later entries of a killed process are dropped.
    """

    def __init__(self, folder: Path, resumed: int = 0) -> None:
        try:
            self._writer = tensorboard.SummaryWriter(str(folder), purge_step=resumed + 1)
        except ImportError as error:
            raise InputError('training needs TensorBoard: pip install "mmprod[train]"') from error

    def scalars(self, step: int, values: Scalars) -> None:
        """Log losses, rates and measures of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def pictures(self, step: int, name: str, grid: torch.Tensor) -> None:
        """Log a picture, uint8 [3, h, w]."""
        self._writer.add_image(name, grid, step)

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
