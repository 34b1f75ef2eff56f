"""Lamps: a shade, lit from inside, on a stand."""

from dataclasses import replace

import numpy as np

from mmprod.demo.curves import ellipse, lathe, smooth, tube
from mmprod.demo.look import Look
from mmprod.demo.surface import Part


def _shade(look: Look, top: float, height: float, wide: float, narrow: float) -> list[Part]:
    """A lampshade, lit from inside; vintage ones flare and have a fringe."""
    bottom = top + height
    middle = (wide + narrow) / 2 * (0.84 if look.vintage else 1.0)
    profile = [(top, narrow), ((top + bottom) / 2, middle), (bottom, wide)]
    parts = [
        replace(
            look.body(lathe(profile, 0, 0.13), 0.02, (0, wide * 1.15)), glow=0.28, gloss=0.05, alpha=0.99
        ),
        look.plain(ellipse(0, top, narrow, narrow * 0.13), 0.01, 0.7),
        Part(ellipse(0, top + 0.008, narrow * 0.88, narrow * 0.1), (255, 244, 214), None, 0.02, 0),
    ]
    if look.vintage:
        for at in np.linspace(-0.96, 0.96, 17):
            edge = bottom + wide * 0.13 * np.sqrt(1 - at * at)
            parts.append(look.fitting(tube([(at * wide, edge - 0.03), (at * wide, edge + 0.09)], 0.035)))
    return parts


def table_lamp(look: Look) -> list[Part]:
    """A shade on a stem: a thin one, a ceramic belly or a turned brass column."""
    top, height = -look.item.between(0, 0.8, 0.92), look.item.between(1, 0.58, 0.76)
    wide = look.item.between(2, 0.5, 0.66)
    narrow, middle = wide * look.item.between(3, 0.45, 0.85), top + height
    foot = look.item.between(4, 0.26, 0.38)
    stand = [look.fitting(lathe([(0.72, foot * 0.9), (0.8, foot)], 0, 0.2))]
    if look.minimalist:
        stand = [
            look.timber(lathe([(0.75, foot), (0.79, foot)], 0, 0.2)),
            look.timber(tube([(0, middle), (0, 0.76)], 0.045)),
        ]
    elif look.vintage:
        knobs = [
            (middle - 0.1, 0.04),
            (0.05, 0.05),
            (0.18, 0.13),
            (0.3, 0.05),
            (0.46, 0.17),
            (0.62, 0.06),
            (0.76, foot),
        ]
        stand.append(replace(look.fitting(lathe(knobs, 0, 0.2), 0.05), turned=(0, 0.2)))
    else:
        belly = look.item.between(5, 0.26, 0.36)
        urn = [(middle - 0.06, 0.05), (0.16, belly * 0.55), (0.42, belly), (0.74, belly * 0.62)]
        stand.append(replace(look.plain(lathe(urn, 0, 0.2), 0.1), gloss=0.5, turned=(0, belly)))
    return stand + _shade(look, top, height, wide, narrow)


def floor_lamp(look: Look) -> list[Part]:
    """A tall lamp: one thin stem, a tripod, or a curled brass stand."""
    top, height = -look.item.between(0, 0.9, 0.98), look.item.between(1, 0.38, 0.52)
    wide = look.item.between(2, 0.3, 0.44)
    middle, spread = top + height, look.item.between(4, 0.24, 0.42)
    pole = look.fitting(tube([(0, middle - 0.1), (0, 0.88)], 0.05))
    if look.minimalist:
        stand = [
            look.timber(lathe([(0.87, 0.24), (0.9, 0.24)], 0, 0.2)),
            look.timber(tube([(0, middle - 0.1), (0, 0.88)], 0.035)),
        ]
    elif look.vintage:
        curl = smooth([(0, 0.5), (spread * 0.9, 0.62), (spread, 0.84), (spread * 0.6, 0.9)], closed=False)
        stand = [look.fitting(tube(curl * side, 0.055)) for side in ((1, 1), (-1, 1))]
        stand += [
            pole,
            look.fitting(ellipse(0, 0.1, 0.085, 0.1), 0.06),
            look.fitting(ellipse(0, 0.48, 0.1, 0.07), 0.06),
        ]
    else:
        feet = [(-spread, 0.92), (0.06, 0.82), (spread, 0.92)]
        stand = [look.timber(tube([(0, middle - 0.04), foot], (0.05, 0.06))) for foot in feet]
        stand.append(look.fitting(ellipse(0, middle + 0.06, 0.07, 0.05)))
    return stand + _shade(look, top, height, wide, wide * look.item.between(3, 0.5, 0.95))
