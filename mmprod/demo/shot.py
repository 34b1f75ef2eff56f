"""How a seller photographs an item: crop, tilt, light, backdrop, watermark and compression."""

from dataclasses import dataclass

import numpy as np

from mmprod.demo.surface import Colour
from mmprod.demo.vocabulary import BRANDS

BACKDROPS: tuple[tuple[Colour, Colour], ...] = (  # wall and floor
    ((250, 250, 250), (228, 229, 232)),
    ((246, 243, 238), (222, 214, 203)),
    ((236, 241, 246), (204, 214, 224)),
    ((250, 240, 232), (232, 210, 194)),
    ((238, 243, 236), (208, 219, 204)),
    ((243, 239, 247), (217, 210, 226)),
    ((226, 228, 231), (192, 195, 200)),
    ((232, 226, 216), (197, 186, 170)),
    ((214, 222, 228), (176, 188, 198)),
    ((252, 246, 226), (236, 222, 184)),
)


@dataclass(frozen=True)
class Shot:
    """One way to take the picture; angles in radians, offsets in units of the item's space."""

    tilt: float
    zoom: float
    offset: tuple[float, float]
    light: tuple[float, float]  # towards the lamp, unit length, y down
    exposure: float
    warmth: float  # above 0 is redder, below 0 is bluer
    wall: Colour
    floor: Colour
    watermark: str  # "" for none
    quality: int  # of the JPEG


def make_shot(seed: int) -> Shot:
    """The shot with this number; the same number is always the same shot."""
    rng = np.random.default_rng([seed, 99])
    wall, floor = BACKDROPS[rng.integers(len(BACKDROPS))]
    angle = rng.uniform(-0.75, 0.75) + rng.choice([-np.pi / 4, np.pi / 4])
    marked = rng.random() < 0.2
    return Shot(
        tilt=float(rng.normal(0, 0.035)),
        zoom=float(rng.uniform(0.88, 1.08)),
        offset=(float(rng.uniform(-0.07, 0.07)), float(rng.uniform(-0.05, 0.05))),
        light=(float(np.sin(angle)), float(-np.cos(angle))),
        exposure=float(rng.uniform(0.93, 1.06)),
        warmth=float(rng.uniform(-0.045, 0.055)),
        wall=wall,
        floor=floor,
        watermark=str(rng.choice(BRANDS)) if marked else "",
        quality=int(rng.choice([88, 88, 90, 84, 72])),
    )
