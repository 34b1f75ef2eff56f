"""Shrinking while decoding: plain JPEGs quickly, everything else as the full way does, refusals alike."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.images.images import BadImage, decode
from mmprod.datasets.images.shrink import plain_jpeg, shrink

SQUARE = Geometry(64, 64, "shortest", "bicubic", 0)


def scene(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth colours with edges, as in photos."""
    down, across = np.mgrid[0:height, 0:width]
    channels = [across * 255 / width, down * 255 / height, (across + down) * 255 / (width + height)]
    picture = Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
    ImageDraw.Draw(picture).ellipse((width // 4, height // 4, width // 2, height // 2), fill="white")
    return picture.convert(mode)


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", **{"quality": 92, **options})
    return sink.getvalue()


def full(data: bytes, geometry: Geometry) -> np.ndarray:
    return geometry.pixels(decode(data))


sides = st.integers(16, 700)


@settings(max_examples=40, deadline=None)
@given(
    sides,
    sides,
    st.sampled_from([(64, 64), (48, 80)]),
    st.sampled_from(["shortest", "longest", "squash"]),
    st.sampled_from(["bicubic", "bilinear"]),
    st.sampled_from(["RGB", "L"]),
    st.booleans(),
    st.sampled_from([0, 2]),
)
def test_a_plain_jpeg_looks_as_if_decoded_in_full(
    width: int,
    height: int,
    size: tuple[int, int],
    how: Any,
    interpolation: Any,
    mode: str,
    progressive: bool,
    subsampling: int,
) -> None:
    if max(width, height) > 20 * min(width, height):
        return
    data = jpeg(scene(width, height, mode), progressive=progressive, subsampling=subsampling)
    geometry = Geometry(*size, how, interpolation, 255)
    assert plain_jpeg(data) == (width, height)
    found, wanted = shrink(data, geometry).pixels, full(data, geometry)
    assert (found.shape, found.dtype) == (wanted.shape, np.uint8)
    assert np.abs(found.astype(int) - wanted).mean() < 2.5


def test_a_picture_of_the_right_size_keeps_its_bits() -> None:
    data = jpeg(scene(64, 64))
    np.testing.assert_array_equal(shrink(data, SQUARE).pixels, full(data, SQUARE))


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
OTHERS = {
    "turned": jpeg(scene(200, 120), exif=exif(6)),
    "turned by XMP": jpeg(scene(200, 120), xmp=XMP.partition(b"\0")[2]),
    "damaged EXIF": jpeg(scene(200, 120), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    "with a profile": jpeg(scene(200, 120), icc_profile=b"garbage" * 20),
    "CMYK": jpeg(scene(200, 120, "CMYK")),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS.keys())
def test_any_other_jpeg_takes_the_safe_way(data: bytes) -> None:
    assert plain_jpeg(data) is None
    np.testing.assert_array_equal(shrink(data, SQUARE).pixels, full(data, SQUARE))


def test_metadata_that_turn_nothing_are_plain() -> None:
    assert plain_jpeg(jpeg(scene(200, 120), exif=exif(1), comment=b"of a camera")) == (200, 120)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_are_bit_identical_to_the_full_way(form: str) -> None:
    sink = io.BytesIO()
    scene(200, 120, "P" if form == "GIF" else "RGB").save(sink, form)
    np.testing.assert_array_equal(shrink(sink.getvalue(), SQUARE).pixels, full(sink.getvalue(), SQUARE))


def test_an_ignored_profile_is_told() -> None:
    assert shrink(OTHERS["with a profile"], SQUARE).profile_ignored
    assert not shrink(jpeg(scene(200, 120)), SQUARE).profile_ignored


def _reason(data: bytes, **options: Any) -> str:
    with pytest.raises(BadImage) as bad:
        shrink(data, SQUARE, **options)
    return bad.value.reason


def test_refusals_are_those_of_the_full_way() -> None:
    whole = jpeg(scene(300, 200))
    assert _reason(whole, max_pixels=1000) == "too_many_pixels"
    assert _reason(jpeg(scene(300, 4))) == "too_small"
    assert _reason(jpeg(scene(400, 10))) == "extreme_aspect"
    assert _reason(whole[: len(whole) // 2]) == "truncated"
    assert _reason(b"") == "empty"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_jpeg_is_used_or_refused_as_by_the_full_way(data: st.DataObject) -> None:
    whole = bytearray(jpeg(scene(90, 70), progressive=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(2, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole) - 2, len(whole) // 2]))])
    try:
        wanted = full(cut, SQUARE)
    except BadImage as bad:
        assert _reason(cut) == bad.reason
    else:
        assert shrink(cut, SQUARE).pixels.shape == wanted.shape
