"""Colour profiles: one picture in any of them is one picture, and a bad profile costs nothing but itself."""

import contextlib
import io
import itertools
import random
import struct
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from mmprod.datasets.images.colours import MAX_PROFILE, UnfitProfile, to_srgb
from mmprod.datasets.images.images import PROFILE_IGNORED, BadImage, decode, thumbnail

SEED = 31
# Red, green and blue as x, y, and the power of the tone curve; white D65, of ProPhoto D50.
SPACES = {
    "Display P3": (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), (0.3127, 0.329), None),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), (0.3127, 0.329), 563 / 256),
    "ProPhoto": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8),
}
SRGB = (((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)), (0.3127, 0.329), None)
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def matrix(space: tuple) -> np.ndarray:
    """Linear numbers of a space to XYZ under D50 (Lindbloom), as profiles state them."""
    primaries, white, _ = space
    columns = np.stack([xyz(*point) for point in primaries], axis=1)
    columns = columns * np.linalg.solve(columns, xyz(*white))
    seen = np.diag((BRADFORD @ D50) / (BRADFORD @ xyz(*white)))
    return np.linalg.inv(BRADFORD) @ seen @ BRADFORD @ columns


def linear(levels: np.ndarray, power: float | None) -> np.ndarray:
    if power:
        return levels**power
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def toned(light: np.ndarray, power: float | None) -> np.ndarray:
    if power:
        return light ** (1 / power)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 from the bodies of its tags."""
    at, table, bodies = 128 + 4 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        table += struct.pack(">4sII", name, at + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    size = at + len(bodies)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", kind, b"XYZ ")
    head += struct.pack(">6H4s", 2025, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += struct.pack(">3I", *fixed(D50)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + bodies


def fixed(numbers: np.ndarray) -> list[int]:
    return [round(number * 65536) & 0xFFFFFFFF for number in numbers]


def point(numbers: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3I", *fixed(numbers))


def curve(power: float | None) -> bytes:
    levels = (linear(np.linspace(0, 1, 1024), power) * 65535).round().astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(levels)) + levels.tobytes()


def rgb_profile(name: str) -> bytes:
    space = SPACES[name]
    columns = matrix(space).T
    tags = {b"wtpt": point(D50), b"desc": b"desc\0\0\0\0\0\0\0\1\0" + bytes(78)}
    tags |= {key: point(column) for key, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(space[2])))


def grey_profile(power: float) -> bytes:
    return profile(b"GRAY", {b"wtpt": point(D50), b"kTRC": curve(power)})


def shop() -> np.ndarray:
    """A picture of soft colours that every space can show: uint8 [64, 64, 3]."""
    rng = np.random.default_rng(SEED)
    patches = rng.integers(40, 216, (4, 4, 3), dtype=np.uint8)
    patches[0, 0], patches[0, 1] = (200, 60, 60), (255, 255, 255)
    return patches.repeat(16, axis=0).repeat(16, axis=1)


def in_space(levels: np.ndarray, name: str) -> Image.Image:
    """The numbers that the same colours have in another space, by formula."""
    light = linear(levels / 255, None) @ (np.linalg.inv(matrix(SPACES[name])) @ matrix(SRGB)).T
    return Image.fromarray((toned(light.clip(0, 1), SPACES[name][2]) * 255).round().astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def off(data: bytes, wanted: np.ndarray) -> float:
    """Levels that all but a hundredth of the numbers are within: the rest are edges of lossy formats."""
    return float(np.percentile(np.abs(np.asarray(decode(data), int) - wanted), 99))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_picture_in_any_profile_is_the_same_picture(kind: str, name: str) -> None:
    options = {"quality": 98, "subsampling": "4:4:4"} if kind in ("JPEG", "AVIF") else {"lossless": True}
    other = in_space(shop(), name)
    assert np.abs(np.asarray(other, int) - shop()).max() > 15
    data = encoded(other, kind, icc_profile=rgb_profile(name), **options)
    assert off(data, shop()) <= 8
    assert not decode(data).info


def test_transparency_keeps_its_white() -> None:
    layer = in_space(shop(), "Adobe RGB")
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:32] = 255
    layer.putalpha(Image.fromarray(alpha))
    wanted = shop()
    wanted[32:] = 255
    data = encoded(layer, "PNG", icc_profile=rgb_profile("Adobe RGB"))
    assert np.abs(np.asarray(decode(data), int) - wanted).max() <= 3


def test_palettes_have_their_picture_s_profile() -> None:
    data = encoded(in_space(shop(), "ProPhoto").quantize(32), "PNG", icc_profile=rgb_profile("ProPhoto"))
    assert off(data, shop()) <= 4


@pytest.mark.parametrize("deep", [False, True])
def test_grey_of_another_tone_curve(deep: bool) -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    wanted = toned(linear(levels / 255, 1.8), None) * 255
    picture = Image.fromarray(levels.astype(np.uint16) * 257) if deep else Image.fromarray(levels)
    data = encoded(picture, "PNG" if not deep else "TIFF", icc_profile=grey_profile(1.8))
    assert np.abs(np.asarray(decode(data), float) - wanted[..., None]).max() <= 3


def test_inks_are_mixed_as_their_profile_says() -> None:
    """A press whose magenta prints as green, which no formula for inks would guess."""
    mixes = itertools.product((0, 1), repeat=4)  # of no and full inks: their L, a, b
    nodes = np.array([[58, 80, 168] if magenta else [96, 128, 128] for _, magenta, _, _ in mixes], np.uint8)
    nodes[0] = (255, 128, 128)
    straight = bytes(range(256))
    body = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    body += straight * 4 + nodes.tobytes() + straight * 3
    press = bytearray(profile(b"CMYK", {b"wtpt": point(D50), b"A2B0": body, b"A2B1": body}))
    press[12:24] = b"prtrCMYKLab "
    paper, magenta = Image.new("CMYK", (16, 16)), Image.new("CMYK", (16, 16), (0, 255, 0, 0))
    for kind in ("JPEG", "TIFF"):
        found = np.asarray(decode(encoded(magenta, kind, icc_profile=bytes(press))), int)[8, 8]
        assert found[1] > found[0] + 20, found
        assert np.asarray(decode(encoded(paper, kind, icc_profile=bytes(press)))).min() > 250
    assert np.asarray(decode(encoded(magenta, "TIFF")), int)[8, 8].tolist() == [255, 0, 255]


@pytest.mark.parametrize(
    "bad",
    [
        b"garbage" * 40,
        rgb_profile("Display P3")[:200],
        grey_profile(2.2),
        rgb_profile("Display P3").replace(b"RGB ", b"CMYK", 1),
        rgb_profile("Display P3") + bytes(MAX_PROFILE),
        rgb_profile("Display P3").replace(b"rTRC", b"D2B0", 1).replace(b"curv", b"mpet", 1),
    ],
    ids=["garbage", "cut", "grey", "inks", "long", "formulas"],
)
def test_a_profile_that_is_broken_or_does_not_fit_is_ignored_and_told(bad: bytes) -> None:
    found = decode(encoded(Image.fromarray(shop()), "TIFF", icc_profile=bad))
    assert (np.asarray(found) == shop()).all()
    assert found.info[PROFILE_IGNORED]


def test_srgb_by_any_name_is_left_as_it_is() -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = decode(encoded(Image.fromarray(shop()), "PNG", icc_profile=own))
    assert (np.asarray(found) == shop()).all()
    assert not found.info


def test_what_is_made_of_it_carries_no_profile_that_it_no_longer_has() -> None:
    data = encoded(in_space(shop(), "Adobe RGB"), "PNG", icc_profile=rgb_profile("Adobe RGB"))
    again = io.BytesIO()
    decode(data).save(again, "PNG")
    assert "icc_profile" not in Image.open(again).info
    assert "icc_profile" not in Image.open(io.BytesIO(thumbnail(data, 64))).info


def test_hostile_profiles_neither_crash_nor_stall() -> None:
    print("seed", SEED)
    dice, picture = random.Random(SEED), Image.fromarray(shop())
    began = time.process_time()
    for _ in range(300):
        spoiled = bytearray(rgb_profile(dice.choice(list(SPACES))))
        for _ in range(dice.choice([1, 5, 50])):
            spoiled[dice.randrange(128, 400) if dice.random() < 0.7 else dice.randrange(len(spoiled))] = (
                dice.randrange(256)
            )
        with contextlib.suppress(UnfitProfile):
            assert to_srgb(picture, bytes(spoiled)).mode == "RGB"
    assert time.process_time() - began < 20


def test_a_truncated_picture_with_a_profile_is_still_refused() -> None:
    data = encoded(in_space(shop(), "Adobe RGB"), "JPEG", icc_profile=rgb_profile("Adobe RGB"))
    with pytest.raises(BadImage, match="truncated"):
        decode(data[:-200])
