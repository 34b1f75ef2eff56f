"""Augmentation of training pictures. It is geometric only: colour belongs to the product and must not change.

Every output pixel is a weighted mean, with non-negative weights, of source pixels (bilinear, antialiased), or
the fill colour. Bicubic filters would overshoot at edges and make new colours; these do not.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from mmprod.storage.errors import InputError

Mode = Literal["shortest", "longest", "squash"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Augment:
    """A bounded random crop, a horizontal flip with probability `flip`, and a resize to `side` x `side`.

    The crop keeps a share of the area drawn from `scale`. Its aspect ratio is the picture's times a factor
    drawn from `ratio`, uniform in its logarithm. `mode` is open_clip's resize_mode: "shortest" cuts out the
    middle square, "longest" keeps everything and fills the square up with colour `fill`, "squash" stretches.
    Raises: InputError for invalid bounds.
    """

    side: int
    mode: Mode = "shortest"
    fill: int | tuple[int, int, int] = 0
    scale: tuple[float, float] = (0.8, 1.0)
    ratio: tuple[float, float] = (0.9, 1.11)
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.side < 1 or self.mode not in ("shortest", "longest", "squash"):
            raise InputError(
                f"side {self.side}, mode {self.mode!r}: want >= 1 and shortest, longest or squash"
            )
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise InputError(f"scale {self.scale}, ratio {self.ratio}: want 0 < low <= high, scale at most 1")

    @property
    def draft_size(self) -> int:
        """The shorter side that a decoded picture needs, in pixels; more would make no crop sharper."""
        return math.ceil(self.side / math.sqrt(self.scale[0] * min(self.ratio[0], 1 / self.ratio[1])))

    def __call__(self, picture: Image.Image, random: np.random.Generator) -> np.ndarray:
        """Augment an RGB picture of any size to uint8 [3, side, side]; all randomness comes from `random`."""
        box = self._crop(*picture.size, random)
        square = self._resize(picture, box)
        if random.random() < self.flip:
            square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    def _crop(self, width: int, height: int, random: np.random.Generator) -> Box:
        """(left, top, right, bottom) within the picture, in fractional pixels."""
        area = random.uniform(*self.scale)
        ratio = math.exp(random.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
        wide, high = width * min(1, math.sqrt(area * ratio)), height * min(1, math.sqrt(area / ratio))
        left, top = random.random() * (width - wide), random.random() * (height - high)
        return left, top, min(left + wide, width), min(top + high, height)

    def _resize(self, picture: Image.Image, box: Box) -> Image.Image:
        left, top, right, bottom = box
        wide, high = right - left, bottom - top
        if self.mode == "longest":
            return self._padded(picture, box)
        if self.mode == "shortest":
            cut = min(wide, high)
            left, top = left + (wide - cut) / 2, top + (high - cut) / 2
            box = left, top, min(left + cut, right), min(top + cut, bottom)
        return picture.resize((self.side, self.side), Image.Resampling.BILINEAR, box)

    def _padded(self, picture: Image.Image, box: Box) -> Image.Image:
        wide, high = box[2] - box[0], box[3] - box[1]
        size = [max(1, round(self.side * length / max(wide, high))) for length in (wide, high)]
        fitted = picture.resize((size[0], size[1]), Image.Resampling.BILINEAR, box)
        fill = (self.fill,) * 3 if isinstance(self.fill, int) else self.fill
        square = Image.new("RGB", (self.side, self.side), fill)
        square.paste(fitted, ((self.side - size[0]) // 2, (self.side - size[1]) // 2))
        return square


def plain(side: int, mode: Mode = "shortest", fill: int | tuple[int, int, int] = 0) -> Augment:
    """The resize alone, without randomness: for evaluation."""
    return Augment(side, mode, fill, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
