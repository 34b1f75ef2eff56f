"""Handbags and backpacks."""

from mmprod.demo.curves import arc, box, ellipse, mirrored, moved, path, symmetric, tube
from mmprod.demo.look import CHARCOAL, Look
from mmprod.demo.surface import Part


def handbag(look: Look) -> list[Part]:
    """A bag with a bow handle: a plain tote, a flap bag, or a frame bag with brass clasp."""
    top, bottom = -look.item.between(0, 0.08, 0.3), 0.8
    wide = look.item.between(1, 0.62, 0.82)
    upper = wide * look.item.between(2, 0.72, 0.98)
    low = bottom - 0.12
    body = symmetric((0, top), (upper, top), (wide, low), (wide * 0.92, bottom), (0, bottom + 0.02))
    reach, height = upper * look.item.between(3, 0.42, 0.66), look.item.between(4, 0.5, 0.72)
    grip = arc(0, top + 0.06, reach, height, 180, 360)
    width = 0.06 if look.minimalist else 0.095
    parts = [look.plain(tube(moved(grip * (1, 0.97), 0.03, -0.02), width), 0.04, 0.6), look.body(body, 0.13)]
    if look.vintage:
        hem = path((-wide * 0.9, bottom - 0.2), (0, bottom - 0.1), (wide * 0.9, bottom - 0.2))
        parts += [*_clasp(look, upper, top), look.crease(hem, 0.03, 0.3)]
    elif not look.minimalist:
        parts += _flap(look, upper, top)
    parts.append(look.plain(tube(grip, width), 0.04, 0.8))
    return parts + [look.fitting(ellipse(x, top + 0.06, 0.055, 0.055)) for x in (-reach, reach)]


def _clasp(look: Look, upper: float, top: float) -> list[Part]:
    frame = path((-upper, top + 0.16), (-upper * 0.8, top), (upper * 0.8, top), (upper, top + 0.16))
    kisses = [ellipse(x, top - 0.06, 0.06, 0.06) for x in (-0.05, 0.05)]
    return [look.fitting(tube(frame, 0.075)), *[look.fitting(kiss) for kiss in kisses]]


def _flap(look: Look, upper: float, top: float) -> list[Part]:
    low = top + look.item.between(5, 0.36, 0.6)
    side = top + 0.6 * (low - top)
    flap = symmetric((0, top - 0.03), (upper * 1.02, top - 0.02), (upper, side), (0, low))
    return [look.plain(flap, 0.06, 0.92), look.fitting(box(-0.08, low - 0.12, 0.08, low + 0.06, 0.03))]


def backpack(look: Look) -> list[Part]:
    """A backpack from the front: body, pocket, top loop, straps behind; vintage has a buckled flap."""
    wide, top = look.item.between(0, 0.5, 0.62), -look.item.between(1, 0.62, 0.74)
    low, pocket = 0.84, look.item.between(2, 0.12, 0.3)
    shoulder = top + look.item.between(3, 0.1, 0.26)
    body = symmetric(
        *[(wide * 0.55, top), (wide * 0.95, shoulder), (wide, 0.2)],
        *[(wide * 0.98, low - 0.1), (wide * 0.7, low)],
    )
    strap = tube(
        path((wide * 0.5, top + 0.1), (wide + 0.16, -0.1), (wide + 0.14, 0.5), (wide * 0.9, low - 0.08)), 0.13
    )
    parts = [
        *[look.plain(side, 0.05, 0.6) for side in (strap, mirrored(strap))],
        look.cloth(tube(arc(0, top + 0.02, 0.15, 0.17, 180, 360), 0.06), CHARCOAL, 0.03),
        look.body(body, 0.14),
        look.body(box(-wide * 0.78, pocket, wide * 0.78, low - 0.08, 0.12), 0.07),
    ]
    edge = [(-wide * 0.72, pocket + 0.08), (wide * 0.72, pocket + 0.08)]
    if look.minimalist:
        return [*parts, look.crease(edge, 0.02, 0.4)]
    if look.vintage:
        return parts + _buckled_flap(look, wide, top, pocket)
    return [*parts, *_zip(look, wide, top), look.cloth(tube(edge, 0.03), CHARCOAL, 0.015)]


def _buckled_flap(look: Look, wide: float, top: float, pocket: float) -> list[Part]:
    corner, middle = (wide * 0.94, pocket - 0.16), (0, pocket + 0.02)
    flap = symmetric((0, top - 0.02), (wide * 0.9, top + 0.08), corner, middle)
    parts = [look.plain(flap, 0.08, 0.88)]
    for x in (-wide * 0.42, wide * 0.42):
        strap = box(x - 0.05, top + 0.3, x + 0.05, pocket + 0.3, 0.02)
        buckle = box(x - 0.075, pocket + 0.08, x + 0.075, pocket + 0.2, 0.02)
        parts += [look.cloth(strap, (126, 80, 46), 0.03), look.fitting(buckle)]
    return parts


def _zip(look: Look, wide: float, top: float) -> list[Part]:
    side, bend = (wide * 0.86, top + 0.5), (wide * 0.7, top + 0.2)
    line = path((-side[0], side[1]), (-bend[0], bend[1]), (0, top + 0.1), bend, side)
    pull = box(wide * 0.78, top + 0.42, wide * 0.86, top + 0.58, 0.02)
    return [look.cloth(tube(line, 0.035), CHARCOAL, 0.015), look.fitting(pull)]
