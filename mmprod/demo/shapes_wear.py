"""T-shirts, dresses, hats and sneakers."""

import numpy as np

from mmprod.demo.curves import Points, arc, box, ellipse, mirrored, moved, path, smooth, symmetric, tube
from mmprod.demo.look import CHARCOAL, CREAM, Look, toned
from mmprod.demo.surface import Part


def t_shirt(look: Look) -> list[Part]:
    """A T-shirt laid flat; vintage ones have contrast neck and cuffs, classic ones a pocket."""
    wide, hem = look.item.between(0, 0.46, 0.56), look.item.between(1, 0.74, 0.9)
    sleeve, drop = look.item.between(2, 0.84, 0.96), look.item.between(3, -0.2, -0.02)
    neck, dip = look.item.between(4, 0.17, 0.25), look.item.between(5, 0.1, 0.24)
    half = [
        (neck, -0.78),
        (0.42, -0.68),
        (wide, -0.3),
        (wide * 0.97, 0.2),
        (wide + 0.01, hem),
        (0, hem + 0.03),
    ]
    body = np.array([*half, *[(-x, y) for x, y in reversed(half)]])
    outer = [(0.3, -0.74), (0.52, -0.66), (sleeve, drop - 0.16), (sleeve - 0.14, drop + 0.08)]
    arm = smooth([*outer, (wide - 0.04, -0.22), (0.36, -0.3)], steps=5)
    collar = arc(0, -0.79, neck, dip, 0, 180)
    inside = np.concatenate([collar, arc(0, -0.79, neck, 0.05, 180, 360)])
    cuff = tube([(sleeve, drop - 0.14), (sleeve - 0.13, drop + 0.07)], 0.07)
    parts = [look.body(arm, 0.07), look.body(mirrored(arm), 0.07), look.body(body, 0.08)]
    parts += [look.crease(fold, 0.03, 0.12) for fold in _folds(wide, hem)]
    parts.append(Part(inside, toned(look.colour, 0.5), None, 0.03, 0))
    parts.append(look.cloth(tube(collar, 0.055), CREAM if look.vintage else toned(look.colour, 0.78), 0.02))
    if look.vintage:
        return parts + [look.cloth(side, CREAM, 0.02) for side in (cuff, mirrored(cuff))]
    if look.minimalist:
        return parts
    pocket = look.plain(box(0.12, -0.32, 0.36, -0.04, 0.03), 0.015, 0.9)
    return [*parts, pocket, look.crease([(0.12, -0.27), (0.36, -0.27)])]


def _folds(wide: float, hem: float) -> list[Points]:
    return [
        path((-wide * 0.9, -0.2), (-wide * 0.6, 0.0), (-wide * 0.5, 0.3)),
        path((wide * 0.92, 0.1), (wide * 0.6, 0.3), (wide * 0.55, hem - 0.1)),
        path((-wide * 0.2, hem - 0.3), (-wide * 0.18, hem - 0.15), (-wide * 0.16, hem - 0.02)),
    ]


def dress(look: Look) -> list[Part]:
    """A dress: a narrow slip, a belted day dress, or a full skirt with lace."""
    waist, hip = look.item.between(0, 0.2, 0.26), look.item.between(1, 0.34, 0.44)
    flare = look.item.between(2, 0.62, 0.8) if look.vintage else look.item.between(2, 0.4, 0.6)
    flare *= 0.72 if look.minimalist else 1
    hem, line = look.item.between(3, 0.66, 0.9), look.item.between(4, -0.2, -0.06)
    bodice = path((0, -0.6), (0.13, -0.62), (0.24, -0.74), (0.3, -0.5), (waist, line))
    skirt = path((waist, line), (hip, line + 0.32), (flare, hem), (flare * 0.5, hem + 0.05), (0, hem + 0.07))
    half = np.concatenate([bodice, skirt])
    strap = tube([(0.2, -0.68), (0.15, -0.9)], 0.045)
    sleeve = smooth([(0.2, -0.8), (0.42, -0.72), (0.46, -0.44), (0.28, -0.42)])
    sleeves = [] if look.minimalist or look.item.traits[5] > 0.6 else [sleeve, mirrored(sleeve)]
    folds = [
        path((at * waist, line + 0.06), (at * hip, line + 0.4), (at * flare, hem))
        for at in (-0.62, -0.25, 0.2, 0.58)
    ]
    return [
        *[look.plain(side, 0.02) for side in (strap, mirrored(strap))],
        *[look.body(side, 0.08) for side in sleeves],
        look.body(np.concatenate([half, mirrored(half)[::-1]]), 0.1),
        *[look.crease(fold, 0.035, 0.16) for fold in folds],
        *(_lace(look, flare, hem) if look.vintage else []),
        *([] if look.minimalist else _belt(look, waist, line)),
    ]


def _lace(look: Look, flare: float, hem: float) -> list[Part]:
    scallops = [(x * flare * 0.97, hem + 0.06 - 0.07 * x * x) for x in np.linspace(-1, 1, 15)]
    collar = look.cloth(tube(arc(0, -0.72, 0.2, 0.13, 10, 170), 0.06), CREAM, 0.02)
    return [*[look.cloth(ellipse(x, y, 0.06, 0.055), CREAM, 0.02) for x, y in scallops], collar]


def _belt(look: Look, waist: float, line: float) -> list[Part]:
    band = box(-waist - 0.02, line - 0.05, waist + 0.02, line + 0.05, 0.03)
    colour = CREAM if look.vintage else toned(look.colour, 0.45)
    return [look.cloth(band, colour, 0.03), look.fitting(ellipse(0, line, 0.045, 0.05))]


def hat(look: Look) -> list[Part]:
    """A hat: a plain bucket, a banded fedora, or a wide brim with a bow."""
    brim, crown = look.item.between(0, 0.78, 0.96), look.item.between(1, 0.4, 0.5)
    top, sit = -look.item.between(2, 0.36, 0.58), look.item.between(3, 0.2, 0.3)
    depth = look.item.between(4, 0.2, 0.3) * (0.9 if look.minimalist else 1)
    brim *= 0.84 if look.minimalist else 1
    dent = 0.0 if look.minimalist else look.item.between(5, 0.04, 0.12)
    rising = [(-crown, sit), (-crown * 0.94, top * 0.4), (-crown * 0.66, top)]
    over = path(*rising, (0, top + dent), *[(-x, y) for x, y in reversed(rising)])
    dome = np.concatenate([over, arc(0, sit, crown, crown * 0.24, 0, 180)])
    rear, front = (brim * 0.55, sit - depth * 0.5), (brim * 0.6, sit + depth)
    low = symmetric(rear, (brim, sit + 0.02), front, (0, sit + depth * 1.25))
    parts = [look.body(low, 0.07), look.body(dome, 0.14, (0, crown * 1.15))]
    if look.minimalist:
        return [*parts, look.crease(arc(0, sit - 0.01, crown, crown * 0.24, 0, 180), 0.02, 0.4)]
    upper = arc(0, sit - 0.17, crown * 0.985, crown * 0.24, 0, 180)
    band = np.concatenate([upper, arc(0, sit - 0.02, crown, crown * 0.24, 180, 0)])
    if not look.vintage:
        return [*parts, look.cloth(band, CHARCOAL, 0.03)]
    return [*parts, look.cloth(band, CREAM, 0.03), *_bow(look, crown * 0.6, crown * 0.45, sit)]


def _bow(look: Look, x: float, reach: float, y: float) -> list[Part]:
    loop = smooth([(0.0, 0.04), (reach, -0.16), (reach, 0.16)])
    loops = [look.cloth(moved(loop * (side, 1), x, y), CREAM, 0.05) for side in (1, -1)]
    return [*loops, look.fitting(ellipse(x, y + 0.03, 0.05, 0.06), 0.03)]


def sneaker(look: Look) -> list[Part]:
    """A shoe from the side, toe to the right: upper, sole, laces; vintage is a high-top with toe cap."""
    collar = -look.item.between(0, 0.5, 0.66) if look.vintage else -look.item.between(0, 0.16, 0.3)
    toe, heel = look.item.between(1, 0.84, 0.95), -look.item.between(2, 0.8, 0.9)
    thick = 0.09 if look.minimalist else look.item.between(3, 0.14, 0.22)
    mouth, vamp = look.item.between(4, -0.36, -0.22), look.item.between(5, 0.05, 0.16)
    middle = (heel + mouth) / 2
    rear = [
        (heel, 0.42),
        (heel - 0.02, 0.1),
        (heel + 0.05, collar),
        (middle, collar + 0.09),
        (mouth, collar - 0.03),
    ]
    upper = smooth([*rear, (0.1, vamp - 0.08), (0.5, 0.2), (toe - 0.06, 0.3), (toe, 0.44), (0.2, 0.46)])
    rim = (heel + 0.07, collar + 0.02)
    inside = smooth([rim, (middle, collar - 0.04), (mouth - 0.03, collar), (middle, collar + 0.1)])
    tongue = smooth(
        [(mouth - 0.06, collar - 0.1), (mouth + 0.08, collar - 0.12), (0.2, vamp), (0.02, vamp + 0.04)]
    )
    return [
        look.cloth(inside, toned(look.colour, 0.35)),
        look.plain(tongue, 0.05, 0.85),
        look.body(upper, 0.12),
        *([] if look.minimalist else _caps(look, heel, toe)),
        *_sole(look, heel, toe, thick),
        *_laces(look, (mouth + 0.06, collar + 0.04), (0.26, 0.16)),
    ]


def _caps(look: Look, heel: float, toe: float) -> list[Part]:
    tip = smooth([(toe - 0.32, 0.42), (toe - 0.26, 0.25), (toe - 0.06, 0.28), (toe + 0.01, 0.43)])
    counter = smooth([(heel - 0.01, 0.42), (heel, 0.06), (heel + 0.22, 0.14), (heel + 0.3, 0.42)])
    shade = CREAM if look.vintage else toned(look.colour, 0.62)
    return [look.cloth(tip, shade, 0.06), look.cloth(counter, shade, 0.06)]


def _sole(look: Look, heel: float, toe: float, thick: float) -> list[Part]:
    low = 0.44 + thick
    upper = [(heel - 0.04, 0.4), (0, 0.43), (toe + 0.02, 0.38), (toe + 0.05, 0.46)]
    sole = smooth([*upper, (toe - 0.06, low), (heel + 0.02, low), (heel - 0.06, 0.48)])
    line = 0.47 + thick * 0.4
    edge = look.crease([(heel, line), (toe, line)], 0.025, 0.5 if look.vintage else 0.2)
    return [Part(sole, (246, 244, 238), None, 0.05, 0.12), edge]


def _laces(look: Look, start: tuple[float, float], end: tuple[float, float]) -> list[Part]:
    rows = np.linspace(start, end, 6 if look.vintage else 4)
    laces = [tube([(x - 0.07, y + 0.07), (x + 0.06, y - 0.03)], 0.04) for x, y in rows]
    return [look.cloth(lace, (250, 248, 244), 0.02) for lace in laces]
