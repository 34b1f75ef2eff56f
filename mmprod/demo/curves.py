"""Outlines: closed polygons in an item's own space, x to the right and y down, both about -1 … 1."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # [n, 2]


def smooth(points: Sequence[tuple[float, float]] | Points, closed: bool = True, steps: int = 8) -> Points:
    """A Catmull-Rom curve through `points`, `steps` points a span."""
    p = np.asarray(points, dtype=np.float64)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, p[-2:-1]])


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """An ellipse around (x, y)."""
    return arc(x, y, rx, ry, 0, 360)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Points:
    """A piece of an ellipse, degrees clockwise from the right, as an open path."""
    angle = np.radians(np.linspace(start, end, 40))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def path(*points: tuple[float, float]) -> Points:
    """An open smooth curve through `points`."""
    return smooth(points, closed=False)


def symmetric(*right: tuple[float, float], steps: int = 8) -> Points:
    """A closed smooth outline from its right half, top to bottom; points on x = 0 stand once."""
    left = [(-x, y) for x, y in reversed(right) if x]
    return smooth([*right, *left], steps=steps)


def tube(path: Points | Sequence[tuple[float, float]], width: float | Sequence[float]) -> Points:
    """A band along an open path, `width` across (one number, or two from start to end), round ends."""
    p = np.asarray(path, dtype=np.float64)
    half = np.linspace(*_ends(width), len(p)) / 2
    along = np.gradient(p, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * half[:, None]
    return np.concatenate(
        [p + across, _cap(p[-1], across[-1], along[-1], half[-1]), (p - across)[::-1],
         _cap(p[0], -across[0], -along[0], half[0])]
    )  # fmt: skip


def _ends(width: float | Sequence[float]) -> tuple[float, float]:
    return (width, width) if isinstance(width, int | float) else (width[0], width[1])


def _cap(at: Points, across: Points, along: Points, half: float) -> Points:
    angle = np.linspace(0, np.pi, 7)[1:-1, None]
    return np.asarray(at + np.cos(angle) * across + np.sin(angle) * along * half)


def lathe(profile: Sequence[tuple[float, float]], x: float = 0.0, tilt: float = 0.18) -> Points:
    """The outline of a turned body seen slightly from above.

    `profile` is (y, radius) from top to bottom, smoothed; `tilt` is how round its bottom edge looks.
    """
    side = smooth([(radius, y) for y, radius in profile], closed=False)
    bottom, radius = side[-1, 1], side[-1, 0]
    foot = arc(0, bottom, radius, radius * tilt, 0, 180)
    whole = np.concatenate([side, foot, (side * (-1, 1))[::-1]])
    return np.asarray(whole + np.array((x, 0.0)))


def box(left: float, top: float, right: float, bottom: float, round_: float = 0.05) -> Points:
    """A rectangle with round corners."""
    r = min(round_, (right - left) / 2, (bottom - top) / 2)
    corners = [
        arc(right - r, top + r, r, r, -90, 0),
        arc(right - r, bottom - r, r, r, 0, 90),
        arc(left + r, bottom - r, r, r, 90, 180),
        arc(left + r, top + r, r, r, 180, 270),
    ]
    return np.concatenate([corner[::6] for corner in corners])


def moved(points: Points, x: float, y: float) -> Points:
    """The same outline further right by `x` and down by `y`."""
    return np.asarray(points + np.array((x, y)))


def ring(outline: Points, width: float) -> Points:
    """A band along a closed outline, its ends overlapping."""
    return tube(np.concatenate([outline, outline[:3]]), width)


def mirrored(points: Points) -> Points:
    """The same outline on the other side of x = 0."""
    return np.asarray(points * np.array((-1, 1)))
