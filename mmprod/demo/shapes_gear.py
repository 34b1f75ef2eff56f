"""Watches and headphones."""

import numpy as np

from mmprod.demo.curves import Points, arc, box, ellipse, moved, tube
from mmprod.demo.look import CHARCOAL, CREAM, Look, toned
from mmprod.demo.surface import Colour, Part


def watch(look: Look) -> list[Part]:
    """A wristwatch: slim with four marks, a plain steel one, or a brass one with a small second hand."""
    radius = look.item.between(0, 0.38, 0.5)
    dark = look.item.traits[3] < 0.35
    face: Colour = (44, 46, 52) if dark else (250, 249, 245)
    rim = radius * (1.08 if look.minimalist else 1.2)
    parts = _strap(look, radius)
    if not look.minimalist:
        parts.append(look.fitting(box(radius * 1.1, -0.06, radius * 1.36, 0.06, 0.03)))
    parts.append(look.fitting(ellipse(0, 0, rim, rim), 0.06))
    parts.append(Part(ellipse(0, 0, radius, radius), face, None, 0.04, 0.1))
    if look.vintage:
        small = ellipse(0, radius * 0.46, radius * 0.24, radius * 0.24)
        parts.append(Part(small, toned(face, 0.85), None, 0.02, 0))
    return parts + _dial(look, radius, CREAM if dark else CHARCOAL)


def _strap(look: Look, radius: float) -> list[Part]:
    band, reach = look.item.between(1, 0.2, 0.29), 0.96
    end = band * look.item.between(2, 0.68, 0.95)
    right = [(end, -reach), (band, -radius * 0.7), (band, -0.1)]
    half = np.array([*[(-x, y) for x, y in reversed(right)], *right])
    seams = [half[[1, 2]], half[[3, 4]]] if not look.minimalist else []
    parts = [look.body(half, 0.07), look.body(half * (1, -1), 0.07)]
    return parts + [look.crease(seam * (0.82, way), 0.018, 0.4) for seam in seams for way in (1, -1)]


def _dial(look: Look, radius: float, ink: Colour) -> list[Part]:
    """Hour marks, two hands and the pin they turn on."""
    count = 4 if look.minimalist else 12
    marks = [_spoke(hour / count, radius * 0.8, radius * 0.92) for hour in range(count)]
    widths = [0.022 if hour % 3 else 0.04 for hour in range(count)]
    hands = [_spoke(look.item.traits[4], 0, radius * 0.5), _spoke(look.item.traits[5], 0, radius * 0.76)]
    lines = zip([*marks, *hands], [*widths, 0.05, 0.032], strict=True)
    parts = [look.cloth(tube(line, width), ink, 0.01) for line, width in lines]
    return [*parts, look.fitting(ellipse(0, 0, 0.035, 0.035), 0.01)]


def _spoke(turn: float, start: float, end: float) -> Points:
    way = np.array([np.sin(2 * np.pi * turn), -np.cos(2 * np.pi * turn)])
    return np.stack([way * start, way * end])


def headphones(look: Look) -> list[Part]:
    """Over-ear headphones from the front; vintage ones have brown pads and brass plates."""
    wide, top = look.item.between(0, 0.56, 0.68), -look.item.between(1, 0.74, 0.88)
    low = look.item.between(4, 0.28, 0.42)
    width = 0.08 if look.minimalist else 0.14
    band = arc(0, low - 0.1, wide, low - 0.1 - top, 180, 360)
    lining = moved(band[10:30] * (0.93, 1), 0, 0.06)
    parts = [look.plain(tube(band, width), 0.05), look.cloth(tube(lining, width * 0.9), CHARCOAL)]
    if not look.minimalist:
        parts += [look.fitting(tube(band[[0, 6]] * (side, 1), 0.075)) for side in (1, -1)]
    return parts + _cup(look, wide, low, 1) + _cup(look, wide, low, -1)


def _cup(look: Look, wide: float, low: float, side: int) -> list[Part]:
    high, deep = look.item.between(2, 0.3, 0.42), look.item.between(3, 0.17, 0.25)
    cup = box(wide - deep * 0.35, low - high, wide + deep, low + high, deep * 0.9)
    pad = box(wide - deep * 0.95, low - high * 0.92, wide + deep * 0.1, low + high * 0.92, deep * 0.6)
    plate = box(wide + deep * 0.1, low - high * 0.5, wide + deep * 0.5, low + high * 0.5, 0.08)
    stripe = box(wide + deep * 0.5, low - high * 0.6, wide + deep * 0.68, low + high * 0.6, 0.03)
    soft: Colour = (112, 74, 48) if look.vintage else CHARCOAL
    parts = [look.cloth(pad * (side, 1), soft, 0.08), look.body(cup * (side, 1), 0.1)]
    if not look.minimalist:
        parts.append(look.fitting((plate if look.vintage else stripe) * (side, 1), 0.03))
    return parts
