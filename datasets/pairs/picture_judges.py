"""Quality measures of a picture: each function returns one number. The bounds are applied in `quality`.

All but `short_side` work on `levels`, the picture reduced to at most `SIDE` pixels, so that the numbers of a
thumbnail and of a large photo are comparable.
"""

import numpy as np
from PIL import Image

SIDE = 160
_CLOSE = 16  # of 255, in each channel: more than JPEG adds to a flat surface
_WHITE = 235
_STEP = 40  # of 255: a clearly visible edge
_EDGE = 0.08  # share of the length next to the border where seams are ignored
_LINE = 0.06  # height of a line of writing, as a share of the picture


def levels(picture: Image.Image) -> np.ndarray:
    """The picture reduced (never enlarged) to at most SIDE pixels a side: int16 [h, w, 3], 0 to 255."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2)
    return np.asarray(small, np.int16)


def short_side(picture: Image.Image) -> float:
    """Pixels of the shorter side."""
    return float(min(picture.size))


def deviation(levels: np.ndarray) -> float:
    """Standard deviation of brightness, in levels of 255: near 0 for a blank picture."""
    return float(_brightness(levels).std())


def plain_share(levels: np.ndarray) -> float:
    """Share of the pixels that are close to the most common colour: near 1 for a nearly blank picture."""
    pixels = levels.reshape(-1, 3)
    codes = (pixels >> 4) @ np.array([256, 16, 1])
    common = np.median(pixels[codes == np.bincount(codes).argmax()], axis=0)
    return float(_close(pixels, common).mean())


def frame_share(levels: np.ndarray) -> float:
    """Share of the area taken by bands of one colour along the border with straight inner edges.

    A band's inner edge must be sharp along nine tenths of its length. White bands don't count: products are
    photographed on white, and pictures are padded with it.
    """
    sides = _four_ways(levels)
    depths = [_flat_lines(side) for side in sides]
    height, width = levels.shape[:2]
    if depths[0] == height:
        return 0.0  # all of one colour: nothing is framed
    top, bottom, left, right = depths
    inside = levels[top : height - bottom, left : width - right]
    ends = [_ends_at_once(inner, side) for inner, side in zip(_four_ways(inside), sides, strict=True)]
    top, bottom, left, right = (d * end for d, end in zip(depths, ends, strict=True))
    return float(1 - (1 - (top + bottom) / height) * (1 - (left + right) / width))


def seam(levels: np.ndarray) -> float:
    """The largest share of a line between two inner rows or columns that is a sharp brightness step.

    Near 1 for pictures put side by side. Two pictures on the same plain background show no seam.
    """
    return max(_seam(levels), _seam(levels.swapaxes(0, 1)))


def writing(levels: np.ndarray) -> float:
    """Number of black-white transitions along the busiest line of the picture.

    Total variation of the rows over 255, averaged over a band as high as a line of text. A line of large
    letters gives 10 to 40; so does a checked shirt, or a page of text that is itself the product.
    """
    steps = np.abs(np.diff(_brightness(levels), axis=1)).sum(axis=1) / 255
    lines = min(len(steps), max(3, round(len(steps) * _LINE)))
    return float(np.convolve(steps, np.full(lines, 1 / lines), "valid").max())


def _brightness(levels: np.ndarray) -> np.ndarray:
    """Luma (ITU-R BT.601), float [h, w]."""
    luma: np.ndarray = levels @ np.array([0.299, 0.587, 0.114])
    return luma


def _close(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    near: np.ndarray = (np.abs(pixels - colour) <= _CLOSE).all(axis=-1)
    return near


def _four_ways(levels: np.ndarray) -> list[np.ndarray]:
    """The picture turned so that its top, bottom, left and right side comes first."""
    turned = levels.swapaxes(0, 1)
    return [levels, levels[::-1], turned, turned[::-1]]


def _flat_lines(levels: np.ndarray) -> int:
    """Number of leading rows of one colour that is not white."""
    colour = np.median(levels[0], axis=0)
    if (colour >= _WHITE).all():
        return 0
    bent = (row for row, line in enumerate(levels) if _close(line, colour).mean() < 0.97)
    return next(bent, len(levels))


def _ends_at_once(inside: np.ndarray, side: np.ndarray) -> bool:
    """Whether one of the first two rows of `inside` has hardly any pixel in the first colour of `side`."""
    if not inside.size:
        return False
    shares = [_close(line, np.median(side[0], axis=0)).mean() for line in inside[:2]]
    return bool(min(shares) <= 0.1)


def _seam(levels: np.ndarray) -> float:
    steps = (np.abs(np.diff(levels, axis=0)) > _STEP).any(axis=2).mean(axis=1)
    edge = max(1, round(len(steps) * _EDGE))
    return float(steps[edge:-edge].max(initial=0.0))
