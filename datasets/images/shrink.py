"""A picture's bytes to an image tower's input, in a fraction of the time of decoding it in full.

A plain JPEG is decoded at the smallest scale that still has the pixels needed, and resized in uint8 with
antialiasing. Everything else takes the safe way of `images.decode` and Pillow.
"""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmprod.datasets.images import jpeg_marks, picture_bombs
from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.images.images import (
    LARGE,
    MAX_PIXELS,
    PROFILE_IGNORED,
    check_size,
    decode,
    one_large,
)
from mmprod.datasets.lazy import lazy

simplejpeg, torch = lazy("simplejpeg"), lazy("torch")
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
    least_width, least_height = _scaled(size, width, height)
    try:
        with one_large if size[0] * size[1] > LARGE else nullcontext():
            rgb = simplejpeg.decode_jpeg(data, "RGB", min_width=least_width, min_height=least_height)
    except ValueError:  # warnings of libjpeg too
        return None
    if rgb.shape[:2] != (height, width):
        rgb = _resized(rgb, height, width, geometry.filter)
    return geometry.placed(rgb).transpose(2, 0, 1)


def _scaled(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Width and height to decode a JPEG in: the smallest with at least the wanted pixels.

    Of the eighths that libjpeg knows, only those with vector instructions: 3/8 takes longer than 1/2.
    """
    for parts in (8, 4, 2):
        small = -(-size[0] // parts), -(-size[1] // parts)
        if small[0] >= width and small[1] >= height:
            return small
    return size


def _resized(rgb: np.ndarray, height: int, width: int, filter_: str) -> np.ndarray:
    """Resize uint8 [h, w, 3] with antialiasing. torch's kernel is Pillow's, in vector instructions."""
    channels_last = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    made = torch.nn.functional.interpolate(channels_last, (height, width), mode=filter_, antialias=True)
    return made[0].permute(1, 2, 0).numpy()  # type: ignore[no-any-return]
