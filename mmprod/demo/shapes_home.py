"""Chairs, sofas and cushions."""

from itertools import pairwise

import numpy as np

from mmprod.demo.curves import Points, arc, box, ellipse, mirrored, path, ring, symmetric, tube
from mmprod.demo.look import CREAM, Look, toned
from mmprod.demo.surface import Part


def chair(look: Look) -> list[Part]:
    """A chair from the front: seat, back and four legs; vintage has a carved frame, minimalist thin rods."""
    seat, wide = look.item.between(0, 0.12, 0.26), look.item.between(1, 0.46, 0.58)
    top = -look.item.between(2, 0.7, 0.92)
    leg = 0.05 if look.minimalist else 0.085
    thick = 0.1 if look.minimalist else 0.17
    narrow = wide * look.item.between(3, 0.75, 0.98)
    rest = _rest(look, top, seat, narrow)
    rear = tube([(wide * 0.62, seat), (wide * 0.66, 0.78)], leg)
    knee = wide * 0.94 + (0.12 if look.vintage else 0)
    front = tube(path((wide * 0.9, seat), (knee, seat + 0.3), (wide * 0.88, 0.92)), (leg * 1.25, leg))
    post = tube([(narrow * 0.8, seat), (narrow * 0.84, top + 0.1)], leg)
    cushion = symmetric((wide * 0.78, seat - 0.09), (wide, seat + 0.06), (wide * 0.96, seat + thick))
    frame = [ring(rest, 0.09)] if look.vintage else []
    timber = [side for piece in (rear, front, post) for side in (piece, mirrored(piece))]
    return [
        *[look.timber(piece) for piece in (*timber, *frame)],
        look.body(rest, 0.1),
        look.body(cushion, 0.12),
        look.crease([(-wide * 0.94, seat + 0.07), (wide * 0.94, seat + 0.07)]),
    ]


def _rest(look: Look, top: float, seat: float, narrow: float) -> Points:
    if look.minimalist:
        return box(-narrow, top, narrow, top + look.item.between(5, 0.34, 0.6), 0.1)
    if look.item.traits[4] < 0.5:
        return symmetric((0, top - 0.04), (narrow, top + 0.1), (narrow * 0.86, seat - 0.08))
    return box(-narrow, top, narrow, seat - 0.12, 0.16)


def sofa(look: Look) -> list[Part]:
    """A sofa from the front: back, two or three seats, arms and feet; vintage is tufted with rolled arms."""
    wide, top = look.item.between(0, 0.84, 0.95), -look.item.between(1, 0.22, 0.48)
    arm = 0.12 if look.minimalist else look.item.between(2, 0.18, 0.26)
    rest = look.item.between(3, -0.08, 0.14)
    seat, low, inner = 0.26, 0.56, wide - arm
    foot = 0.04 if look.minimalist else 0.08
    feet = [tube([(x, low), (x * 1.03, 0.76)], (foot * 1.3, foot)) for x in (-wide * 0.86, wide * 0.86)]
    spans = list(pairwise(np.linspace(-inner, inner, 4 if look.item.traits[4] < 0.5 else 3)))
    seats = [box(a + 0.008, seat - 0.06, b - 0.008, seat + 0.17, 0.07) for a, b in spans]
    curl = 0.06 if look.minimalist else 0.12
    arms = [box(x, rest, x + arm, low + 0.06, curl) for x in (-wide, inner)]
    rolls = [ellipse(x, rest + 0.06, arm * 0.62, 0.13) for x in (arm / 2 - wide, wide - arm / 2)]
    back = _tufted(look, wide, top, low) if look.vintage else _padded(look, wide - arm * 0.4, top, low, spans)
    return [
        *[look.timber(piece) for piece in feet],
        *back,
        look.body(box(-inner - 0.02, seat + 0.1, inner + 0.02, low + 0.06, 0.05), 0.06),
        *[look.body(piece, 0.08) for piece in (*seats, *arms)],
        *[look.plain(roll, 0.08) for roll in rolls if look.vintage],
    ]


def _padded(look: Look, half: float, top: float, low: float, spans: list[tuple[float, float]]) -> list[Part]:
    pads = [box(a + 0.01, top + 0.1, b - 0.01, 0.32, 0.1) for a, b in spans]
    return [look.body(box(-half, top, half, low, 0.12), 0.12), *[look.body(pad, 0.09) for pad in pads]]


def _tufted(look: Look, wide: float, top: float, low: float) -> list[Part]:
    side, bend = wide * 0.92, wide * 0.5
    back = symmetric((0, top - 0.1), (bend, top + 0.1), (side, top + 0.22), (side, low))
    rail = path(
        (-side, top + 0.2), (-bend, top + 0.08), (0, top - 0.12), (bend, top + 0.08), (side, top + 0.2)
    )
    spots = [(x, y) for y in (top + 0.22, top + 0.42) for x in np.linspace(-0.6, 0.6, 7)]
    buttons = [look.cloth(ellipse(x, y, 0.025, 0.025), toned(look.colour, 0.5), 0.02) for x, y in spots]
    return [look.body(back, 0.12), *buttons, look.timber(tube(rail, 0.07))]


def cushion(look: Look) -> list[Part]:
    """A puffed square or oblong; classic ones are piped, vintage ones have tassels."""
    wide, high = look.item.between(0, 0.7, 0.86), look.item.between(1, 0.5, 0.84)
    dip = look.item.between(2, 0.86, 0.95)
    upper = [(0, -high * dip), (wide * 0.5, -high * (dip + 0.03)), (wide, -high)]
    side = [(wide * (dip + 0.03), y) for y in (-high * 0.5, high * 0.5)]
    lower = [(x, -y) for x, y in reversed(upper)]
    outline = symmetric(*upper, side[0], (wide * dip, 0), side[1], *lower, steps=4)
    parts = [look.body(outline, 0.26)]
    if not look.minimalist:
        parts.append(look.cloth(ring(outline, 0.035), CREAM if look.vintage else toned(look.colour, 0.6)))
    if look.vintage:
        parts += [_tassel(look, x * wide, y * high) for x in (-1, 1) for y in (-1, 1)]
    return [*parts, look.crease(arc(0, 0, wide * 0.9, high * 0.9, 20, 60), 0.03, 0.07)]


def _tassel(look: Look, x: float, y: float) -> Part:
    return look.fitting(tube([(x, y), (x * 1.06, y * 1.06 + 0.12)], (0.06, 0.13)))
