"""A picture's bytes to an image tower's input, in a fraction of the time of decoding it in full.

A plain JPEG is decoded at the smallest scale that still has the pixels needed, and resized in uint8 with
antialiasing. Everything else takes the safe way of `images.decode` and Pillow.
"""

from contextlib import nullcontext, suppress
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmprod.datasets.images import jpeg_marks, picture_bombs
from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.images.images import (
    LARGE,
    MAX_PIXELS,
    PROFILE_IGNORED,
    BadImage,
    check_size,
    decode,
    one_large,
)
from mmprod.datasets.lazy import lazy

simplejpeg, torch = lazy("simplejpeg"), lazy("torch")
_MARGIN = 1.5
"""How many times the pixels wanted a decoded part must have. Halves of 1.05 times made vectors of a cosine of
.9994 with those of the full way (less the mean), of 1.5 times .9998."""
_UP = 1 + 1e-9  # so that rounding down does not lose a pixel
_JPEG = b"\xff\xd8\xff"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_SCAN, _APP1, _APP2 = 0xDA, 0xE1, 0xE2
_ORIENTATION = 0x0112


class Shrunk(NamedTuple):
    """`pixels`: uint8 [3, height, width]; `profile_ignored`: whether the picture's colour profile is broken
    or of another kind of picture."""

    pixels: np.ndarray
    profile_ignored: bool = False


def shrink(data: bytes, geometry: Geometry, max_pixels: int = MAX_PIXELS) -> Shrunk:
    """Decode and resize the picture in `data`. May run in several threads at once.

    Raises: as `images.decode`.
    """
    if data.startswith(_JPEG) and not picture_bombs.found(data, max_pixels) and (size := plain_jpeg(data)):
        with suppress(BadImage):  # the full way says which damage comes first
            check_size(*size, max_pixels)
            if (pixels := _quick(data, geometry, size)) is not None:
                return Shrunk(pixels)
    picture = decode(data, max_pixels)
    return Shrunk(geometry.pixels(picture), PROFILE_IGNORED in picture.info)


def plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG of 8-bit grey or YCbCr, upright, without colour profile; None for others."""
    size = None
    for mark, start, end, _ in jpeg_marks.segments(data):
        body = data[start + 2 : end]
        if mark in _FRAMES and len(body) > 5 and body[0] == 8 and body[5] in (1, 3):  # bits, components
            size = int.from_bytes(body[3:5]), int.from_bytes(body[1:3])
        elif mark == _APP2 or (mark == _APP1 and _turned(body)):
            return None
        elif mark == _SCAN:
            return size
    return None


def _turned(body: bytes) -> bool:
    """Whether metadata may say that the picture is not upright."""
    if not body.startswith(b"Exif"):
        return b"rientation" in body  # XMP
    exif = Image.Exif()
    try:
        exif.load(body)
        return bool(exif.get(_ORIENTATION, 1) != 1)
    except Exception:  # noqa: BLE001  whatever damaged metadata raise: the safe way knows
        return True


def _quick(data: bytes, geometry: Geometry, size: tuple[int, int]) -> np.ndarray | None:
    """uint8 [3, height, width] of a plain JPEG; None if it is damaged in any way."""
    width, height = geometry.size(*size)
    parts = _parts(size, (width, height))
    least_width, least_height = (-(-side // parts) for side in size)
    try:
        with one_large if size[0] * size[1] > LARGE else nullcontext():
            rgb = simplejpeg.decode_jpeg(data, "RGB", min_width=least_width, min_height=least_height)
    except ValueError:  # warnings of libjpeg too
        return None
    if (width, height) != size:
        scale = height * parts / size[1] * _UP, width * parts / size[0] * _UP
        rgb = _resized(rgb, height, width, scale, geometry.filter)
    return geometry.placed(rgb).transpose(2, 0, 1)


def _parts(size: tuple[int, int], wanted: tuple[int, int]) -> int:
    """8, 4, 2 or 1: a JPEG is decoded at the smallest of these parts of its size that has the pixels wanted.

    libjpeg knows all eighths, but only these have vector instructions: 3/8 takes longer than 1/2.
    """
    most = min(side / _MARGIN / want for side, want in zip(size, wanted, strict=True))
    return next((parts for parts in (8, 4, 2) if parts <= most), 1)


def _resized(
    rgb: np.ndarray, height: int, width: int, scale: tuple[float, float], filter_: str
) -> np.ndarray:
    """Resize uint8 [h, w, 3] by `scale` to [height, width, 3] with antialiasing.

    The scale is given as the last row and column of a decoded part of odd size reach beyond the picture.
    torch's kernel is Pillow's, in vector instructions. Raises: MemoryError.
    """
    channels_last = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    try:
        made = torch.nn.functional.interpolate(
            channels_last, scale_factor=scale, mode=filter_, antialias=True
        )
    except RuntimeError as error:  # so torch reports a lack of memory on a CPU
        raise MemoryError(str(error)) from error
    return made[0].permute(1, 2, 0).numpy()[:height, :width]  # type: ignore[no-any-return]
