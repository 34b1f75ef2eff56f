"""Pictures: every kind a seller may deliver ends as uniform RGB or as a reason, and nothing else happens."""

import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmprod.datasets.images.images import BadImage, decode, sniff, thumbnail
from mmprod.storage.errors import InputError

SEED = 20240229


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """Smooth colours with an edge: red to the right, green downwards, a blue block at the top left."""
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([255 * x / width, 255 * y / height, np.zeros_like(x)], axis=-1)
    levels[: height // 4, : width // 4, 2] = 255
    return Image.fromarray(levels.astype(np.uint8))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return (
        signature + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(BadImage) as caught:
        decode(data, **options)
    assert isinstance(caught.value, InputError)
    return caught.value.reason


def near(found: Image.Image, want: Image.Image, off: float = 6) -> bool:
    assert found.mode == "RGB"
    assert found.size == want.size
    return bool(np.abs(np.asarray(found, float) - np.asarray(want, float)).mean() < off)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"  <!DOCTYPE html><html>404", "html"),
        (b"\xef\xbb\xbf<html>", "html"),
        (b'{"error": 404}', "json"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported:svg"),
        (b"<?xml version='1.0'?>\n<svg/>", "unsupported:svg"),
        ("<svg/>".encode("utf-16"), "unsupported:svg"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unsupported:eps"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported:heic"),
        (b"%PDF-1.7", "unsupported:pdf"),
        (b"8BPS\0\1", "unsupported:psd"),
        (b"Not found", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
    ],
)
def test_what_is_no_picture_is_told_from_its_first_bytes(data: bytes, why: str) -> None:
    assert sniff(data) == why == reason(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO"])
def test_accepted_formats(kind: str) -> None:
    data = encoded(photo(), kind)
    assert sniff(data) is None
    assert near(decode(data), photo(), off=12)


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "PCX", "JPEG2000", "ICNS", "DDS", "SGI"])
def test_other_formats_are_refused_though_pillow_could_read_them(kind: str) -> None:
    assert reason(encoded(photo(64, 64), kind)).startswith(("unsupported:", "not_an_image"))


def test_cmyk_becomes_rgb() -> None:
    assert near(decode(encoded(photo().convert("CMYK"), "JPEG", quality=95)), photo())
    assert near(decode(encoded(photo().convert("CMYK"), "TIFF")), photo())


def test_grey_and_black_and_white() -> None:
    grey = photo().convert("L")
    assert near(decode(encoded(grey, "JPEG", quality=95)), grey.convert("RGB"))
    assert near(decode(encoded(grey.convert("1"), "PNG")), grey.convert("1").convert("RGB"))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 64 * 48).reshape(48, 64)
    want = np.repeat((levels / 257)[..., None], 3, axis=2)
    grey = levels.astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    assert np.abs(np.asarray(decode(png(64, 48, 16, 0, rows)), float) - want).max() <= 1
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    assert np.abs(np.asarray(decode(png(64, 48, 16, 2, rows)), float) - want).max() <= 1
    for deep in (levels.astype(np.int32), levels.astype(np.float32), (levels / 65535).astype(np.float32)):
        found = np.asarray(decode(encoded(Image.fromarray(deep), "TIFF")), float)
        assert np.abs(found - want).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "RGB", "L"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    if mode in ("RGBA", "LA", "PA"):
        picture = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
        picture.paste((0, 0, 0, 255), (0, 0, 8, 16))
        data = encoded(picture.convert("LA" if mode == "LA" else "RGBA"), "WEBP" if mode == "PA" else "PNG")
    else:  # a colour that stands for "nothing"
        picture = Image.new(mode, (16, 16), 7 if mode != "RGB" else (7, 7, 7))
        picture.paste(0 if mode != "RGB" else (0, 0, 0), (0, 0, 8, 16))
        if mode == "P":
            picture.putpalette([0, 0, 0] + [90] * 30)
        data = encoded(picture, "PNG", transparency=7 if mode != "RGB" else (7, 7, 7))
    found = np.asarray(decode(data))
    assert (found[:, 10:] > 250).all()
    assert (found[:, :6] < 5).all()


def test_half_transparent_black_on_white_is_grey() -> None:
    found = np.asarray(decode(encoded(Image.new("RGBA", (16, 16), (0, 0, 0, 128)), "PNG")))
    assert (found == 127).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_camera_s_rotation_is_applied(orientation: int, kind: str) -> None:
    undo = {
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
    }
    stored = photo().transpose(undo[orientation]) if orientation > 1 else photo()
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert near(decode(encoded(stored, kind, exif=exif)), photo())


def test_damaged_camera_data_does_not_cost_the_picture() -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xee" * 40)
    assert near(decode(data), photo())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert near(decode(data), frames[0])


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((1, 1), "too_small"),
        ((1, 8000), "too_small"),
        ((7, 100), "too_small"),
        ((8, 161), "extreme_aspect"),
        ((300, 10), "extreme_aspect"),
        ((101, 100), "too_many_pixels"),
    ],
)
def test_odd_shapes_are_refused(size: tuple[int, int], why: str) -> None:
    assert reason(encoded(Image.new("RGB", size), "PNG"), max_pixels=100 * 100) == why


def test_the_smallest_and_the_longest_that_pass() -> None:
    assert decode(encoded(Image.new("RGB", (8, 160)), "PNG"), max_pixels=1280).size == (8, 160)


def test_a_text_bomb_is_refused() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 3_000_000, zip=True)
    assert reason(encoded(photo(), "PNG", pnginfo=text)) == "text_bomb"


def test_a_truncated_picture_is_refused() -> None:
    noise = Image.fromarray(np.random.default_rng(SEED).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"):
        data = encoded(noise, kind)
        assert reason(data[: len(data) // 2]) in ("truncated", "damaged"), kind
    data = encoded(noise, "JPEG", progressive=True)
    assert reason(data[: len(data) // 2]) == "truncated"


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def flip(data: bytes, dice: random.Random) -> bytes:
    spoiled = bytearray(data)
    for _ in range(dice.choice([1, 3, 30])):
        spoiled[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(spoiled)


def flip_head(data: bytes, dice: random.Random) -> bytes:
    return flip(data[:64], dice) + data[64:]


def splice(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + dice.randbytes(dice.randrange(200)) + data[at + dice.randrange(200) :]


@pytest.mark.parametrize("spoil", [cut, flip, flip_head, splice])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_spoiled_bytes_decode_or_are_refused_and_nothing_else(
    kind: str, spoil: Callable[[bytes, random.Random], bytes]
) -> None:
    print("seed", SEED)
    dice = random.Random(f"{SEED} {kind} {spoil.__name__}")
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if kind in ("GIF", "BMP") else {"exif": exif}
    data = encoded(photo(), kind, **options)
    for _ in range(40):
        try:
            picture = decode(spoil(data, dice), max_pixels=1_000_000, draft_size=dice.choice([None, 16]))
        except BadImage as bad:
            assert bad.reason
        else:
            assert picture.mode == "RGB"


def test_decoding_in_threads_lets_no_warning_out() -> None:
    dice = random.Random(SEED)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\x12\x01\x03\0\xff\xff\xff\x7f\0\0\0\0" * 3
    data = [flip(encoded(photo(), "JPEG", exif=exif), dice) for _ in range(200)]

    def survives(item: bytes) -> bool:
        try:
            return decode(item).mode == "RGB"
        except BadImage:
            return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(survives, data))


def test_a_picture_bomb_is_refused_before_it_takes_memory() -> None:
    width, height = 11_000, 8_000  # 88 million pixels in about 250 kB
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"\0" + bytes(3 * width)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    assert len(bomb) < 300_000
    code = f"""
import resource, sys
from mmprod.datasets.images.images import BadImage, decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(sys.stdin.buffer.read())
except BadImage as bad:
    print(bad.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < {16 * 1024})
"""
    done = subprocess.run([sys.executable, "-c", code], input=bomb, capture_output=True, check=True)
    assert done.stdout.split() == [b"too_many_pixels", b"True"]


def test_draft_keeps_at_least_the_pixels_asked_for_and_the_look() -> None:
    data = encoded(photo(1000, 700), "JPEG", quality=92)
    for side in (1, 50, 87, 88, 175, 224, 350, 351, 700, 2000):
        quick = decode(data, draft_size=side)
        assert min(quick.size) >= min(side, 700)
        assert quick.size == (1000, 700) or min(quick.size) < 2 * side or quick.size == (125, 88)
    small = decode(data, draft_size=224).resize((224, 224), Image.Resampling.BICUBIC)
    full = decode(data).resize((224, 224), Image.Resampling.BICUBIC)
    assert near(small, full, off=1.5)


def test_thumbnail_is_a_small_upright_jpeg() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = photo(800, 600).transpose(Image.Transpose.ROTATE_90)
    small = Image.open(io.BytesIO(thumbnail(encoded(stored, "JPEG", exif=exif), 100)))
    assert (small.format, small.size) == ("JPEG", (100, 75))
    assert near(small, photo(800, 600).resize((100, 75)))
    with pytest.raises(BadImage):
        thumbnail(b"<html>", 100)
