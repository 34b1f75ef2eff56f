"""Damaged pictures: decoded to their size, or refused with a reason, in a second and within bounds."""

import io
import random
import time
from functools import cache

import numpy as np
from mutate.damage import damaged
from PIL import Image

from mmprod.datasets.images.images import BadImage, decode

FORMATS = (
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("AVIF", {}),
)
SIZE = (97, 61)
LIMIT = 2.0  # seconds


def outcome(rng: random.Random) -> str:
    """Of one picture: taken, refused, or what went wrong with it."""
    data = _picture(rng.randrange(len(FORMATS)))
    for _ in range(rng.randint(1, 3)):
        data = damaged(rng, data)
    start = time.perf_counter()
    try:
        picture = decode(data)
    except BadImage as bad:
        found = "refused" if bad.reason else "wrong: no reason"
    except Exception as error:  # noqa: BLE001 (nothing else may come)
        found = f"wrong: {error!r}"
    else:
        found = "taken" if picture.mode == "RGB" else f"wrong: {picture.mode}"
    seconds = time.perf_counter() - start
    return found if seconds < LIMIT else f"wrong: {seconds:.1f} s"


@cache
def _picture(number: int) -> bytes:
    name, options = FORMATS[number]
    noise = np.random.default_rng(number).integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(SIZE).save(file, name, **options)
    return file.getvalue()
