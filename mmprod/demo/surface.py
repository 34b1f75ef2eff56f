"""Surfaces: parts of a product, the patterns printed on them and how they take light."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmprod.demo.curves import Points

Plane = NDArray[np.float32]  # [height, width], one number a pixel
Colour = tuple[float, float, float]  # 0 … 255


@dataclass(frozen=True)
class Print:
    """A pattern printed on a part: its second colour, repeats per unit and direction in radians."""

    kind: str  # one of vocabulary.PATTERNS but plain
    colour: Colour
    repeats: float
    angle: float


@dataclass(frozen=True)
class Part:
    """One piece of a product, painted over the pieces before it."""

    outline: Points
    colour: Colour
    printed: Print | None = None
    puff: float = 0.08  # how far from its edge the surface still curves, in units of the item's space
    gloss: float = 0.1  # strength of the highlight, 0 … 1
    weave: float = 0.0  # strength of the cloth's texture
    turned: tuple[float, float] | None = None  # axis x and radius when the part is round like a cup
    alpha: float = 1.0
    glow: float = 0.0  # lit from inside, as lampshades are


def printed(pattern: Print, x: Plane, y: Plane, pixel: float) -> Plane:
    """How much of the second colour shows at each point, 0 … 1; `pixel` is a pixel's width in units."""
    s, t = _turn(x * pattern.repeats, y * pattern.repeats, pattern.angle)
    soft = pixel * pattern.repeats
    if pattern.kind == "striped":
        return _bands(t, soft)
    if pattern.kind == "checked":
        return np.asarray(0.5 * (_bands(s, soft) + _bands(t, soft)))
    if pattern.kind == "zigzag":
        return _bands(t + 0.9 * np.abs((s * 0.8) % 1 - 0.5), soft)
    return _motifs(s, t, soft, petals=pattern.kind == "floral")


def _turn(x: Plane, y: Plane, angle: float) -> tuple[Plane, Plane]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _bands(t: Plane, soft: float) -> Plane:
    distance = 0.25 - np.abs(t % 1 - 0.5)
    return np.asarray(np.clip(0.5 + distance / soft, 0, 1))


def _motifs(s: Plane, t: Plane, soft: float, petals: bool) -> Plane:
    """Dots, or flowers of five petals with an open centre, on a staggered grid."""
    row = np.floor(t)
    ds, dt = (s + 0.5 * (row % 2)) % 1 - 0.5, t - row - 0.5
    radius = np.hypot(ds, dt)
    if not petals:
        return np.asarray(np.clip(0.5 + (0.27 - radius) / soft, 0, 1))
    reach = 0.31 + 0.11 * np.cos(5 * np.arctan2(dt, ds) + row)
    return np.asarray(np.clip(0.5 + (reach - radius) / soft, 0, 1) * np.clip((radius - 0.06) / soft, 0, 1))


def relief(mask: Plane, blurred: Plane, reach: float, light: tuple[float, float]) -> tuple[Plane, Plane]:
    """Brightness and sheen of a surface that curves towards its edge.

    The blurred mask is read as a height; its slope against `light` (a unit vector towards the lamp) brightens
    or darkens, and what lies low is darker. Both about 1 and 0 on flat ground.
    """
    slope = np.zeros_like(blurred)
    slope[:, 1:-1] = (blurred[:, 2:] - blurred[:, :-2]) * np.float32(-0.8 * reach * light[0])
    slope[1:-1] += (blurred[2:] - blurred[:-2]) * np.float32(-0.8 * reach * light[1])
    low = np.clip(blurred, 0.5, 1) - 1
    sheen = np.clip(slope - 0.12, 0, 1) * mask
    return np.float32(1) + np.asarray(0.42 * slope + 0.34 * low, np.float32), np.asarray(sheen, np.float32)


def roundness(across: Plane, light: tuple[float, float]) -> tuple[Plane, Plane]:
    """Brightness and sheen of a turned body; `across` is -1 … 1 from its left to its right edge."""
    side = np.clip(across - 0.45 * light[0], -1.4, 1.4)
    bright = 1.1 - 0.36 * side * side
    streak = np.exp(-(((across - 0.52 * light[0]) / 0.13) ** 2))
    return bright, np.asarray(streak)
