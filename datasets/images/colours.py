"""Conversion of pictures from their embedded colour profile to sRGB.

Sellers' software embeds profiles (Display P3, Adobe RGB, ProPhoto, those of printing inks) by default. If all
were read as sRGB, the same picture saved in two profiles would get vectors as different as two pictures.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE = 4_000_000
"""Largest profile in bytes: those of printing presses have up to three million, others a few thousand."""
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_STEPS = 6  # of each channel, for comparing a profile with sRGB
_ALIKE = 2  # largest difference from sRGB, in levels, of a profile that counts as sRGB
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


class UnfitProfile(ValueError):  # noqa: N818 (a property of the profile)
    """A profile that can't be applied to its picture."""


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture of mode L, RGB or CMYK from its ICC profile to RGB in sRGB.

    Relative colorimetric with black point compensation: white stays white. If the profile is sRGB itself,
    nothing is computed. Raises: UnfitProfile if it is broken, too long, or for another colour mode.
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
    """The transform from a profile to sRGB; None if it would change nothing visible."""
    if len(profile) > MAX_PROFILE:
        raise UnfitProfile(f"{len(profile)} bytes, the limit is {MAX_PROFILE}")
    if _MODES.get(profile[16:20]) != mode:
        raise UnfitProfile(f"a profile of {profile[16:20]!r} on a picture of {mode}")
    if b"mpet" in profile:  # formulas of any length, which lcms would evaluate for each point of its tables
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
    """Judged by its effect on colours sampled from the whole space, not by the profile's name."""
    levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    turned = np.asarray(transform.apply(Image.fromarray(colours)), np.int16)
    return bool(np.abs(turned - colours).max() <= _ALIKE)
