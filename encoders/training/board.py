"""TensorBoard: scalars of every step, and pictures of what the model finds."""

from pathlib import Path
from types import TracebackType

import torch

from mmprod.encoders.training.trainer import Scalars
from mmprod.storage.errors import InputError


class Board:
    """Writes to a folder that ``tensorboard --logdir`` shows. Steps after `resumed` of an earlier, killed
    process are superseded."""

    def __init__(self, folder: Path, resumed: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError('training needs TensorBoard: pip install "mmprod[train]"') from error
        self._writer = SummaryWriter(str(folder), purge_step=resumed + 1)

    def scalars(self, step: int, values: Scalars) -> None:
        """Losses, rates and measures of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def pictures(self, step: int, name: str, grid: torch.Tensor) -> None:
        """A picture, uint8 [3, h, w]."""
        self._writer.add_image(name, grid, step)

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
