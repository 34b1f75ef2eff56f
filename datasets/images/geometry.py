"""The size to which a picture is resized for an image tower, in open_clip's terms; no torch is needed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
Mode = Literal["shortest", "longest", "squash", "whole"]


@dataclass(frozen=True)
class Geometry:
    """How a picture is resized to `height` x `width`.

    "shortest": the shorter side is resized to fit, the longer one cut; "longest": the longer side is resized
    to fit, the rest filled with the grey level `fill`; "squash": both sides are resized to fit;
    "whole": a picture that does not fit is made smaller, in its own form, and nothing is cut or filled.
    """

    height: int
    width: int
    mode: Mode
    interpolation: Literal["bicubic", "bilinear"]
    fill: int

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture to uint8 [3, height, width]: with Pillow, bit-identical to open_clip's transform."""
        resized = picture.resize(self.size(*picture.size), _FILTERS[self.filter])
        if self.mode == "whole":
            return np.asarray(resized).transpose(2, 0, 1)
        return np.asarray(self._cut(self._padded(resized))).transpose(2, 0, 1)

    @property
    def filter(self) -> Literal["bicubic", "bilinear"]:
        """The filter in use: for "shortest" to an oblong, open_clip ignores its setting."""
        oblong = self.mode == "shortest" and self.height != self.width
        return "bicubic" if oblong else self.interpolation

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to resize to. Rounding differs by mode as in torchvision and open_clip."""
        if self.mode == "squash":
            return self.width, self.height
        if self.mode == "whole":
            ratio = max(width / self.width, height / self.height, 1)
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        if self.mode == "shortest" and self.height == self.width:
            short, long = sorted((width, height))
            longer = int(self.width * long / short)
            return (self.width, longer) if width <= height else (longer, self.width)
        ratios = width / self.width, height / self.height
        ratio = max(ratios) if self.mode == "longest" else min(ratios)
        return round(width / ratio), round(height / ratio)

    def placed(self, resized: np.ndarray) -> np.ndarray:
        """A picture of `size`, uint8 [h, w, 3], cut or filled up to [height, width, 3]; as `pixels` does."""
        if self.mode == "whole":
            return resized
        height, width = resized.shape[:2]
        if height >= self.height and width >= self.width:
            top, left = round((height - self.height) / 2), round((width - self.width) / 2)
            return resized[top : top + self.height, left : left + self.width]
        return np.asarray(self._cut(self._padded(Image.fromarray(resized))))

    def _padded(self, picture: Image.Image) -> Image.Image:
        spare = [
            max(0, want - has) for want, has in zip((self.width, self.height), picture.size, strict=True)
        ]
        if not any(spare):
            return picture
        left, top = (side // 2 for side in spare)
        border = (left, top, spare[0] - left, spare[1] - top)
        return ImageOps.expand(picture, border, fill=(self.fill,) * 3)

    def _cut(self, picture: Image.Image) -> Image.Image:
        left = round((picture.width - self.width) / 2)
        top = round((picture.height - self.height) / 2)
        return picture.crop((left, top, left + self.width, top + self.height))
