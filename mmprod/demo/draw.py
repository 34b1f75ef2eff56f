"""Pictures of items: parts painted with light and shadow on a backdrop, as a JPEG of 160 x 160 pixels.

Outlines are rasterised by PIL at four times the size and averaged down; light, patterns and shadows are
computed at the picture's own size, each part inside its own bounding box.
"""

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mmprod.demo.curves import Points
from mmprod.demo.items import Item
from mmprod.demo.shapes import parts_of
from mmprod.demo.shot import Shot, make_shot
from mmprod.demo.surface import Part, Plane, printed, relief, roundness

SIZE = 160  # pixels
FINE = 4  # supersampling of outlines
UNIT = 0.43 * SIZE  # pixels per unit of an item's space at zoom 1
Canvas = NDArray[np.float32]  # [SIZE, SIZE, 3], 0 … 255
_LINE = np.arange(SIZE, dtype=np.float32)


def picture(item: Item, seed: int) -> bytes:
    """The JPEG of `item` in the shot with number `seed`; equal arguments give equal bytes."""
    shot = make_shot(seed)
    parts = parts_of(item)
    canvas = _backdrop(shot)
    _cast_shadow(canvas, parts, shot)
    x, y = _item_space(shot)
    for part in parts:
        _paint(canvas, part, shot, x, y)
    image = _develop(canvas, shot)
    if shot.watermark:
        image = _watermarked(image, shot.watermark)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=shot.quality)
    return out.getvalue()


def _backdrop(shot: Shot) -> Canvas:
    """A wall that bends softly into the floor, with the lamp's glow on it."""
    wall, floor = np.array(shot.wall, np.float32), np.array(shot.floor, np.float32)
    bend = 1 / (1 + np.exp((0.66 * SIZE - _LINE) / (0.09 * SIZE)))
    glow = 9 * np.outer(_bell(0.32 * SIZE), _bell((0.5 + 0.22 * shot.light[0]) * SIZE)) - 5
    canvas = (wall + (floor - wall) * bend[:, None])[:, None] + glow[..., None]
    return np.asarray(canvas, dtype=np.float32)


def _bell(centre: float) -> Plane:
    return np.asarray(np.exp(-((_LINE - centre) ** 2) / (2 * (0.42 * SIZE) ** 2)))


def _to_pixels(outline: Points, shot: Shot) -> Points:
    cos, sin = np.cos(shot.tilt), np.sin(shot.tilt)
    turned = outline @ np.array([[cos, sin], [-sin, cos]]) + shot.offset
    return np.asarray(turned * (UNIT * shot.zoom) + SIZE / 2)


def _item_space(shot: Shot) -> tuple[Plane, Plane]:
    """x and y in the item's space at the centre of every pixel: the inverse of `_to_pixels`."""
    scale = UNIT * shot.zoom
    x = (_LINE[None, :] + 0.5 - SIZE / 2) / scale - shot.offset[0]
    y = (_LINE[:, None] + 0.5 - SIZE / 2) / scale - shot.offset[1]
    cos, sin = np.float32(np.cos(shot.tilt)), np.float32(np.sin(shot.tilt))
    return cos * x + sin * y, cos * y - sin * x


def _cast_shadow(canvas: Canvas, parts: list[Part], shot: Shot) -> None:
    """A soft shadow thrown away from the lamp, and a dark line of contact under what stands."""
    small = Image.new("L", (SIZE // 2, SIZE // 2))
    pen = ImageDraw.Draw(small)
    outlines = [_to_pixels(part.outline, shot) for part in parts]
    for outline in outlines:
        shifted = outline + np.array((-4 * shot.light[0], 4.0))
        pen.polygon((shifted / 2).ravel().tolist(), fill=255)
    soft = small.filter(ImageFilter.GaussianBlur(3.2)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    shade = np.asarray(soft, dtype=np.float32) * np.float32(0.34 / 255)
    corners = np.concatenate(outlines)
    left, right = float(corners[:, 0].min()), float(corners[:, 0].max())
    across = (_LINE - (left + right) / 2 + 3 * shot.light[0]) / max(0.46 * (right - left), 8)
    down = (_LINE - float(corners[:, 1].max()) + 1) / (0.026 * SIZE)
    contact = np.outer(np.exp(-(down * down)), 0.42 * np.exp(-((across * across) ** 2)))
    canvas *= (1 - np.maximum(shade, contact))[..., None]


def _paint(canvas: Canvas, part: Part, shot: Shot, x: Plane, y: Plane) -> None:
    reach = max(part.puff * UNIT * shot.zoom, 0.6)
    outline = _to_pixels(part.outline, shot)
    low = np.clip(np.floor(outline.min(axis=0) - 2), 0, SIZE - 1).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0) + 3), low + 2, SIZE).astype(int)
    low = np.minimum(low, high - 2)
    mask = _coverage(outline - low, tuple(int(side) for side in high - low))
    where = np.s_[low[1] : high[1], low[0] : high[0]]
    colour = _coloured(part, mask, reach, shot, x[where], y[where])
    canvas[where] += (np.asarray(mask, np.float32) * (part.alpha / 255))[..., None] * (colour - canvas[where])


def _coverage(outline: Points, size: tuple[int, ...]) -> Image.Image:
    mask = Image.new("L", (size[0] * FINE, size[1] * FINE))
    ImageDraw.Draw(mask).polygon((outline * FINE).ravel().tolist(), fill=255)
    return mask.reduce(FINE)


def _coloured(part: Part, mask: Image.Image, reach: float, shot: Shot, x: Plane, y: Plane) -> Canvas:
    """The part's colour at each pixel of its box, lit: [height, width, 3]."""
    blurred = mask.filter(ImageFilter.GaussianBlur(reach))
    bright, sheen = relief(_fraction(mask), _fraction(blurred), reach, shot.light)
    across = x
    if part.turned:
        axis, radius = part.turned
        turn = np.clip((x - axis) / radius, -1, 1)
        round_bright, streak = roundness(turn, shot.light)
        bright, sheen = bright * round_bright, 0.5 * sheen + streak
        across = np.asarray(axis + radius * np.arcsin(0.98 * turn))
    if part.weave:
        bright = bright * np.asarray(1 + part.weave * np.sin(x * 95) * np.sin(y * 95), np.float32)
    colour = np.empty((*bright.shape, 3), np.float32)
    colour[:] = part.colour
    if part.printed:
        pixel = 1 / (UNIT * shot.zoom)
        second = np.array(part.printed.colour, np.float32)
        colour += printed(part.printed, across, y, pixel)[..., None] * (second - colour)
    if part.glow:
        bulb = np.exp(-(((y - y.mean()) / 0.3) ** 2) - (x - x.mean()) ** 2 / 0.18)
        bright = bright + np.asarray(part.glow * bulb, np.float32)
    colour *= bright[..., None]
    colour += (part.gloss * 150 * sheen)[..., None]
    return colour


def _fraction(mask: Image.Image) -> Plane:
    return np.asarray(mask, np.float32) / np.float32(255)


def _develop(canvas: Canvas, shot: Shot) -> Image.Image:
    tint = np.array([1 + shot.warmth, 1, 1 - shot.warmth], np.float32) * np.float32(shot.exposure)
    return Image.fromarray(np.clip(canvas * tint, 0, 255).astype(np.uint8))


def _watermarked(image: Image.Image, words: str) -> Image.Image:
    layer = Image.new("L", image.size)
    ImageDraw.Draw(layer).text((SIZE / 2, SIZE - 12), words, fill=120, anchor="mm", font=_font())
    return Image.composite(Image.new("RGB", image.size, (90, 90, 96)), image, layer)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)
