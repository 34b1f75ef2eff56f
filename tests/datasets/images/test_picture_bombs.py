"""Small files that decode to hours or gigabytes: refused at once, and nothing sound is taken for one."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmprod.datasets.images.images import decode
from mmprod.datasets.images.picture_bombs import found

MEASURE = """
import resource, sys, time
from mmprod.datasets.images.images import BadImage, decode
decode(open(sys.argv[1], "rb").read())  # whatever is loaded with the first picture
data = open(sys.argv[2], "rb").read()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, began = peak(), time.process_time()
try:
    decode(data)
    print("decoded")
except BadImage as bad:
    print(bad.reason)
print(time.process_time() - began, (peak() - before) // 1024)
"""


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def of_scans(count: int, side: int = 3000) -> bytes:
    """A progressive JPEG whose last scan stands in it so many times."""
    plain = encoded(Image.new("RGB", (side, side), "red"), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:last] + plain[last:-2] * count + b"\xff\xd9"


def of_segments() -> bytes:
    plain = encoded(Image.new("RGB", (64, 48), "red"), "JPEG")
    return plain[:2] + b"\xff\xfe\x00\x02" * 4_000_000 + plain[2:]


def of_padding() -> bytes:
    plain = encoded(Image.new("RGB", (64, 48), "red"), "JPEG")
    return plain[:2] + b"\xff" * 15_000_000 + plain[2:]


def of_chunks() -> bytes:
    plain = encoded(Image.new("RGB", (64, 48), "red"), "PNG")
    return plain[:33] + chunk(b"abCd", b"") * 1_000_000 + plain[33:]


def of_blocks() -> bytes:
    plain = encoded(Image.new("P", (64, 48)), "GIF")
    at = plain.index(b",")
    return plain[:at] + b"\x21\xfe\x01a\x00" * 3_000_000 + plain[at:]


def of_texts() -> bytes:
    plain = encoded(Image.new("RGB", (64, 48), "red"), "PNG")
    text = b"Comment\0\0" + zlib.compress(bytes(300_000_000), 1)
    return plain[:33] + chunk(b"zTXt", text) + plain[33:]


def tiff(width: int, height: int, tile: int, body: bytes) -> bytes:
    """A tiled grey TIFF, zipped; one tile."""
    short = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile}
    long = {324: 8 + 2 + 12 * 10 + 4, 325: len(body)}
    entries = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in short.items()]
    entries += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in long.items()]
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + bytes(4) + body


def of_a_tile() -> bytes:
    return tiff(100, 100, 16384, zlib.compress(bytes(16384 * 16384), 1))


def of_an_av1_frame(side: int = 6500) -> bytes:
    """An AVIF that declares 100 x 100 and holds a frame of `side` x `side`."""
    plain = encoded(Image.new("RGB", (side, side), "red"), "AVIF", speed=10)
    at = plain.index(b"ispe") + 8
    return plain[:at] + struct.pack(">II", 100, 100) + plain[at + 8 :]


def of_a_canvas() -> bytes:
    plain = encoded(Image.new("RGBA", (64, 48), (1, 2, 3, 4)), "WEBP", lossless=False)
    at = plain.index(b"VP8X") + 12
    return plain[:at] + b"\xfe\xff\x00" * 2 + plain[at + 6 :]


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: of_scans(3000), "decode_bomb"),
        (of_segments, "decode_bomb"),
        (of_padding, "decode_bomb"),
        (of_chunks, "decode_bomb"),
        (of_blocks, "decode_bomb"),
        (of_texts, "text_bomb"),
        (of_a_tile, "decode_bomb"),
        (of_an_av1_frame, "too_many_pixels"),
        (of_a_canvas, "too_many_pixels"),
    ],
    ids=["scans", "segments", "padding", "chunks", "blocks", "texts", "tile", "av1", "canvas"],
)
def test_a_bomb_is_refused_within_a_second_and_100_mb(
    build: Callable[[], bytes], why: str, tmp_path: Path
) -> None:
    (tmp_path / "sound").write_bytes(encoded(Image.new("RGB", (64, 48), "red"), "JPEG"))
    (tmp_path / "bomb").write_bytes(build())
    assert (tmp_path / "bomb").stat().st_size < 20_000_000
    line = [sys.executable, "-c", MEASURE, str(tmp_path / "sound"), str(tmp_path / "bomb")]
    told = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert told[0] == why
    assert float(told[1]) < 1, f"{told[1]} s of CPU"
    assert int(told[2]) < 100, f"{told[2]} MB"


@pytest.mark.parametrize(
    "data",
    [
        of_scans(20, 64),
        tiff(100, 100, 256, zlib.compress(bytes(256 * 256))),
        tiff(3000, 3000, 3008, zlib.compress(bytes(3008 * 3008))),
        encoded(Image.new("RGBA", (300, 200), (1, 2, 3, 4)), "AVIF"),
        encoded(Image.new("RGBA", (300, 200), (1, 2, 3, 4)), "WEBP"),
        encoded(Image.new("RGB", (300, 200), "red"), "WEBP", lossless=True),
        encoded(Image.new("RGB", (300, 200), "red"), "WEBP", lossless=False),
        encoded(Image.new("P", (300, 200)), "GIF", comment=b"a" * 100_000),
        encoded(Image.new("RGB", (300, 200), "red"), "MPO", save_all=True),
    ],
    ids=["scans", "small tile", "large tile", "avif", "webp", "lossless", "lossy", "gif", "mpo"],
)
def test_sound_files_are_none(data: bytes) -> None:
    assert found(data, 9_000_000) is None
    assert decode(data, 9_000_000).mode == "RGB"


def test_an_avif_s_sequence_of_frames_is_looked_into_too() -> None:
    frames = [Image.new("RGB", (200, 200), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert found(data, 40_000) is None
    assert found(data, 39_999) == "too_many_pixels"


def test_canvases_are_read_from_each_kind_of_webp() -> None:
    for options in ({"lossless": True}, {"lossless": False}):
        for mode in ("RGB", "RGBA"):
            data = encoded(Image.new(mode, (301, 200), "red"), "WEBP", **options)
            assert found(data, 301 * 200) is None
            assert found(data, 301 * 200 - 1) == "too_many_pixels"
