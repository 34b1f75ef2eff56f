"""How pictures enter an image tower: their size, and the mean and deviation of its pixels."""

from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from mmprod.datasets.images.geometry import Geometry


class Normalise(nn.Module):
    """uint8 pixels [n, 3, height, width] → floats of the tower's mean and deviation, on the tower's device.

    So a picture travels as a quarter of the bytes, and nobody can forget the normalisation or apply it twice.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.visual.preprocess_cfg
        mean, deviation = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("shift", -mean / deviation)

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.to(self.scale.dtype) * self.scale + self.shift


def geometry_of(model: Any) -> Geometry:
    """The size that the model's preprocessing resizes pictures to, and how."""
    found: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
    height, width = picture_size(model)
    mode: Any = found.get("resize_mode") or "shortest"
    interpolation: Any = found.get("interpolation") or "bicubic"
    return Geometry(height, width, mode, interpolation, found.get("fill_color") or 0)


def picture_size(model: Any) -> tuple[int, int]:
    """Height and width of the image tower's input."""
    size = model.visual.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
