"""Mugs, teapots and vases: turned bodies with handles."""

from mmprod.demo.curves import arc, ellipse, lathe, path, tube
from mmprod.demo.look import CREAM, Look, toned
from mmprod.demo.surface import Part


def mug(look: Look) -> list[Part]:
    """A cup with one handle; vintage ones have a waist and gilt rims."""
    top, bottom = -look.item.between(0, 0.5, 0.72), 0.74
    radius, foot = look.item.between(1, 0.46, 0.6), look.item.between(2, 0.78, 1.0)
    waist = 0.88 if look.vintage else (1 + foot) / 2
    profile = [(top, radius), ((top + bottom) / 2, radius * waist), (bottom, radius * foot * 0.96)]
    reach, height = look.item.between(3, 0.3, 0.44), look.item.between(4, 0.26, 0.4)
    width = 0.09 if look.minimalist else 0.15
    x = -0.16
    handle = arc(x + radius * 0.9, (top + bottom) / 2, reach, height, -95, 95)
    rim = radius * 0.2
    parts = [
        look.plain(tube(handle, width), 0.06),
        look.body(lathe(profile, x, 0.2), 0.05, (x, radius * 1.02)),
        Part(ellipse(x, top, radius, rim), toned(look.colour, 1.25), None, 0.02, look.gloss),
        Part(ellipse(x, top + 0.012, radius * 0.92, rim * 0.86), toned(CREAM, 0.86), None, 0.14, 0.05),
    ]
    if look.vintage:
        foot_radius = radius * foot * 0.97
        parts.append(look.fitting(tube(arc(x, bottom - 0.05, foot_radius, foot_radius * 0.2, 8, 172), 0.05)))
        parts.append(look.fitting(tube(arc(x, top, radius * 0.97, rim * 0.96, 0, 360), 0.035)))
    return parts


def teapot(look: Look) -> list[Part]:
    """A belly, a spout, a handle and a lid with a knob."""
    radius, top, bottom = look.item.between(0, 0.5, 0.6), -look.item.between(1, 0.2, 0.38), 0.72
    neck = look.item.between(2, 0.24, 0.32)
    belly = [(top, neck), (top + 0.14, radius * 0.82), (0.2, radius), (0.55, radius * 0.8)]
    lip = -look.item.between(3, 0.12, 0.38)
    spout = path((-0.34, 0.42), (-0.66, 0.2), (-0.74, lip + 0.16), (-0.96, lip))
    loop = path((0.36, -0.1), (0.78, -0.22), (0.9, 0.12), (0.74, 0.42), (0.42, 0.48))
    handle = tube(loop, 0.07 if look.minimalist else 0.11)
    tip = top - look.item.between(4, 0.12, 0.24)
    lid = lathe([(tip, 0.04), (0.6 * tip + 0.4 * top, neck * 0.72), (top, neck * 1.06)], 0, 0.2)
    knob = ellipse(0, tip - 0.055, 0.075, 0.08)
    parts = [
        look.plain(tube(spout, (0.3, 0.11)), 0.1),
        look.timber(handle) if look.minimalist else look.plain(handle, 0.05),
        look.body(lathe([*belly, (bottom, radius * 0.52)], 0, 0.16), 0.1, (0, radius * 1.02)),
        look.plain(lid, 0.06),
        look.timber(knob) if look.minimalist else look.fitting(knob, 0.05),
    ]
    if look.vintage:
        base = radius * 0.56
        parts.append(look.fitting(tube(arc(0, top + 0.01, neck * 1.04, neck * 0.2, 0, 180), 0.04)))
        parts.append(look.fitting(lathe([(bottom - 0.01, base), (bottom + 0.07, base * 1.16)], 0, 0.16)))
    return parts


def vase(look: Look) -> list[Part]:
    """A turned vase: slender when minimalist, with gilt and ears when vintage."""
    top, bottom = -look.item.between(0, 0.72, 0.88), 0.78
    belly = look.item.between(1, 0.26, 0.36) if look.minimalist else look.item.between(1, 0.4, 0.54)
    neck, mouth = belly * look.item.between(2, 0.34, 0.62), belly * look.item.between(3, 0.5, 0.85)
    shoulder = look.item.between(4, -0.05, 0.4)
    foot = belly * look.item.between(5, 0.5, 0.72)
    profile = [
        (top, mouth),
        (top + 0.22, neck),
        (shoulder, belly),
        (0.6, (belly + foot) * 0.52),
        (bottom, foot),
    ]
    ear = path((neck, top + 0.2), (belly * 1.1, top + 0.18), (belly * 1.15, -0.2), (belly * 0.7, -0.06))
    parts = [look.fitting(tube(ear * (side, 1), 0.07)) for side in (1, -1) if look.vintage]
    parts += [
        look.body(lathe(profile, 0, 0.16), 0.1, (0, belly * 1.04)),
        Part(ellipse(0, top, mouth, mouth * 0.2), toned(look.colour, 1.2), None, 0.02, look.gloss),
        Part(ellipse(0, top + 0.01, mouth * 0.84, mouth * 0.15), toned(look.colour, 0.42), None, 0.05, 0),
    ]
    if look.vintage:
        parts.append(look.fitting(tube(arc(0, top + 0.22, neck * 1.02, neck * 0.2, 4, 176), 0.05)))
    return parts
