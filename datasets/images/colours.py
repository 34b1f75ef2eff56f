"""Colours as they were meant: numbers of a picture's own colour profile turned into those of sRGB.

Sellers' software embeds profiles (Display P3, Adobe RGB, ProPhoto, those of printing inks) without being
asked. Taken for sRGB, one picture saved in two profiles is as far from itself as from a stranger's.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE = 4_000_000
"""Bytes of a profile: those of printing presses have up to three million, others a few thousand."""
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_STEPS = 6  # of each channel, for comparing a profile with sRGB
_ALIKE = 2  # levels that a profile may differ from sRGB by and still be one
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


class UnfitProfile(ValueError):  # noqa: N818 (what a profile is found to be)
    """A profile that says nothing about the colours of its picture."""


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """A picture of mode L, RGB or CMYK in the colours of its ICC profile → RGB in those of sRGB.

    Relative colorimetric with black point compensation: white stays white. Nothing is computed where the
    profile is sRGB's own. Raises: UnfitProfile where it is broken, too long, or for another kind of colours.
    """
    if (transform := _transform(profile, picture.mode)) is None:
        return picture.convert("RGB")
    if picture.mode == "RGB":
        picture = picture.copy()
        transform.apply_in_place(picture)
        return picture
    return transform.apply(picture)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None where that changes nothing that could be seen."""
    if len(profile) > MAX_PROFILE:
        raise UnfitProfile(f"{len(profile)} bytes, the limit is {MAX_PROFILE}")
    if _MODES.get(profile[16:20]) != mode:
        raise UnfitProfile(f"a profile of {profile[16:20]!r} on a picture of {mode}")
    if b"mpet" in profile:  # formulas of any length, which lcms evaluates for each point of its tables
        raise UnfitProfile("a profile of multi-processing elements")
    try:
        found = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            _SRGB,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise UnfitProfile(str(error)) from error
    return None if mode == "RGB" and _is_srgb(found) else found


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """Judged by what it does to colours from all over, not by the name that it goes by."""
    levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    turned = np.asarray(transform.apply(Image.fromarray(colours)), np.int16)
    return bool(np.abs(turned - colours).max() <= _ALIKE)
