"""Bad and unusual pictures: what a picture column contains besides good JPEGs."""

import io

from PIL import Image

UNUSABLE = ("truncated", "html", "tiny", "huge")
"""Pictures that ingest must refuse; the product stays, text only."""

ODD = ("cmyk", "deep")
"""Unusual pictures that must be read all the same."""

_PAGE = b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body>Forbidden</body></html>\n"


def spoiled(kind: str, jpeg: bytes) -> bytes:
    """`jpeg` spoiled in one of the ways of `UNUSABLE` and `ODD`; unchanged for ``""``."""
    if kind == "truncated":
        return jpeg[: len(jpeg) * 2 // 5]
    if kind == "html":
        return _PAGE
    if kind == "tiny":
        return _saved(Image.new("RGB", (1, 1), "white"), "PNG")
    if kind == "huge":  # 64 million pixels in 10 kB
        return _saved(Image.new("1", (8000, 8000)), "PNG")
    if kind in ODD:
        return _odd(kind, Image.open(io.BytesIO(jpeg)))
    return jpeg


def _odd(kind: str, image: Image.Image) -> bytes:
    if kind == "cmyk":
        return _saved(image.convert("CMYK"), "JPEG")
    grey = image.convert("L")
    wide = Image.frombytes("I;16", grey.size, b"".join(bytes((level, level)) for level in grey.tobytes()))
    return _saved(wide, "PNG")  # 16 bits a pixel


def _saved(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()
