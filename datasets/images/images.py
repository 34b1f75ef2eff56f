"""Reading pictures as sellers deliver them: type detection, safety checks and decoding to sRGB."""

import errno
import logging
import re
import threading
import warnings
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from mmprod.datasets.images import jpeg_marks, picture_bombs
from mmprod.datasets.images.colours import UnfitProfile, to_srgb
from mmprod.storage.errors import InputError, shortage

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # JPEG includes MPO
MAX_PIXELS = 40_000_000
MAX_BYTES = 20_000_000
MIN_SIDE = 8
MAX_ASPECT = 20
TRUNCATED = "truncated"

PROFILE_IGNORED = "profile_ignored"
"""Key in the `info` of a decoded picture: why its colour profile was ignored."""
LARGE = 8_000_000
"""Pixels from which on pictures are decoded one at a time, for the sake of memory."""
one_large = threading.Lock()
_NOT_THERE = (  # errors caused by the path; any other is an error of the machine
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.ENXIO,
)
_BYTES_A_PIXEL = 16  # peak memory of decoding a pixel, including what libraries hold beside the picture
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_REFUSED = {
    b"%!PS": "unsupported:eps",
    b"\xc5\xd0\xd3\xc6": "unsupported:eps",
    b"%PDF": "unsupported:pdf",
    b"8BPS": "unsupported:psd",
    b"\0\0\1\0": "unsupported:ico",
    b"\0\0\0\x0cjP  ": "unsupported:jpeg2000",
    b"\xffO\xffQ": "unsupported:jpeg2000",
    b"\0\0\0\x0cJXL ": "unsupported:jpegxl",
    b"\xff\n": "unsupported:jpegxl",
}
_GREY, _PLAIN = ("1", "L", "LA"), ("L", "RGB", "CMYK")
_TURN = {  # EXIF orientation -> the operation that makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow warns about either raises BadImage or doesn't matter. `warnings.catch_warnings` would race
# between decoding threads; a permanent filter doesn't.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class BadImage(InputError):  # noqa: N818 (a property of the picture)
    """A picture that can't be used. `reason` is a short stable word, such as ``truncated``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_image_path(path: str, root: Path) -> bytes:
    """The bytes of the picture at `path`, relative to `root`. Sellers supply paths, so none may lead outside.

    Raises: BadImage with ``outside_root`` if the real path, links followed, is not below `root`; ``missing``
    if no regular file can be read there; ``too_large`` over MAX_BYTES. OSError if the machine fails: a disk,
    a network drive, too many open files.
    """
    try:
        real = (root / path).resolve()
        if not real.is_relative_to(root.resolve()):
            raise BadImage("outside_root")
        if not real.is_file():
            raise BadImage("missing")
        with real.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except BadImage:
        raise
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise BadImage("missing") from error
        raise
    except (RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise BadImage("missing") from error
    if len(data) > MAX_BYTES:
        raise BadImage("too_large")
    return data


def sniff(data: bytes) -> str | None:
    """Why these bytes are certainly no usable picture, by the first of them; None if decoding may succeed.

    Reasons: ``empty``, ``html``, ``json``, ``unsupported:FORMAT``, ``not_an_image``.
    """
    if not data:
        return "empty"
    if data.startswith(_MAGIC) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return None
    if data[4:8] == b"ftyp":
        return _sniff_iso_media(data)
    refused = next((reason for magic, reason in _REFUSED.items() if data.startswith(magic)), None)
    return refused or _sniff_text(data[:1024])


def _sniff_iso_media(data: bytes) -> str | None:
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return None if b"avif" in brands or b"avis" in brands else "unsupported:heic"


def _sniff_text(head: bytes) -> str:
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if b"<svg" in text and text.startswith(b"<"):
        return "unsupported:svg"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")):
        return "html"
    return "json" if text.startswith((b"{", b"[")) else "not_an_image"


def decode(data: bytes, max_pixels: int = MAX_PIXELS, draft_size: int | None = None) -> Image.Image:
    """Decode the picture in `data` to 8-bit sRGB: upright, the first frame, on white, 16 bits scaled to 8.

    A colour profile is applied. One that is broken or for another kind of picture is ignored;
    ``info[PROFILE_IGNORED]`` of the picture says why. A JPEG that lacks only its end marker is complete.
    With `draft_size`, a JPEG is decoded at the smallest of its scales 1, 1/2, 1/4, 1/8 whose shorter side
    still has `draft_size` pixels: enough for resizing to that size, in a fraction of the time.

    Raises: BadImage for any unusable bytes. Reasons: those of `sniff` and of `picture_bombs.found`,
    ``too_many_pixels`` (by the header, before decoding), ``too_small`` (a side under MIN_SIDE),
    ``extreme_aspect`` (over MAX_ASPECT), ``truncated``, ``damaged``. MemoryError, or OSError for lack of file
    descriptors: not caused by the picture.
    """
    if reason := sniff(data) or picture_bombs.found(data, max_pixels):
        raise BadImage(reason)
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        return _decoded(data, max_pixels, draft_size)
    except BadImage as bad:
        if bad.reason != TRUNCATED:
            raise
        ended = [_decoded(whole, max_pixels, draft_size) for whole in jpeg_marks.with_ends(data)]
        if not ended or ImageChops.difference(*ended).getbbox():
            raise
        return ended[0]


def _decoded(data: bytes, max_pixels: int, draft_size: int | None) -> Image.Image:
    pixels = picture_bombs.declared_pixels(data)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            pixels = picture.width * picture.height
            check_size(*picture.size, max_pixels)
            if draft_size:
                picture.draft(None, (draft_size, draft_size))
            with one_large if picture.width * picture.height > LARGE else nullcontext():
                picture.load()
                return _upright(_rgb(picture), picture)
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(picture_bombs.TOO_MANY) from error
    except Exception as error:
        if own := shortage(error):
            raise own from None
        np.empty(
            min(pixels, max_pixels) * _BYTES_A_PIXEL, np.uint8
        )  # raises MemoryError if memory is short, which libraries report as damage
        raise BadImage("damaged" if picture_bombs.is_whole(data) else TRUNCATED) from error


def thumbnail(data: bytes, side: int) -> bytes:
    """A JPEG of the picture, scaled to fit into `side` x `side` pixels. Raises: BadImage."""
    picture = decode(data, draft_size=side)
    picture.thumbnail((side, side))
    out = BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise BadImage for a picture of an unusable size, in pixels."""
    if width * height > max_pixels:
        raise BadImage("too_many_pixels")
    if min(width, height) < MIN_SIDE:
        raise BadImage("too_small")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage("extreme_aspect")


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "LAB":
        raise BadImage("unsupported:lab")
    profile = picture.info.get("icc_profile")
    if picture.mode[0] in "IF":  # I, I;16, I;16B, F
        return _in_srgb(_eight_bit(picture), profile)
    if not picture.has_transparency_data:
        return _in_srgb(picture, profile)
    layer = picture.convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    opaque = _in_srgb(picture.convert("L") if picture.mode in _GREY else layer.convert("RGB"), profile)
    white.paste(opaque, mask=layer)
    white.info = opaque.info
    return white


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    told: dict[str | tuple[int, int], Any] = {}
    plain = picture if picture.mode in _PLAIN else picture.convert("L" if picture.mode in _GREY else "RGB")
    try:
        rgb = to_srgb(plain, profile) if profile else plain.convert("RGB")
    except UnfitProfile as error:
        rgb, told = plain.convert("RGB"), {PROFILE_IGNORED: str(error)}
    rgb.info = told  # drops the file's own entries, such as the profile, which no longer applies
    return rgb


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Grey levels of 16 or 32 bits, or floats, scaled to 0…255 from the range they most likely use."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    levels = np.nan_to_num(np.asarray(picture, dtype=np.float32), posinf=0, neginf=0)
    peak = float(levels.max())
    ranges = (1, 255, 65535, peak) if picture.mode == "F" else (255, 65535, peak)
    scale = np.float32(255 / next(full for full in ranges if peak <= full))
    return Image.fromarray((levels * scale).round().clip(0, 255).astype(np.uint8))


def _upright(rgb: Image.Image, source: Image.Image) -> Image.Image:
    try:
        turn = _TURN.get(source.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF data must not lose a picture that decodes
        log.debug("unreadable EXIF data is ignored", exc_info=True)
        turn = None
    return rgb.transpose(turn) if turn is not None else rgb
