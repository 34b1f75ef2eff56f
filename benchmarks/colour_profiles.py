"""What following colour profiles costs, beside decoding without a look at them.

    OMP_NUM_THREADS=1 python benchmarks/colour_profiles.py [--side 800] [--rounds 15]

A JPEG of `side` pixels with no profile, with sRGB's own and with Display P3's is decoded as it is now and as
it would be if profiles were passed over, in turns; CPU milliseconds, medians of the rounds, and their ratio.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from load.tables import show
from PIL import Image, ImageCms

from mmprod.datasets.images import images
from mmprod.datasets.images.images import decode

_TOGETHER = 5  # pictures a reading of the clock


def photo(side: int, profile: bytes | None) -> bytes:
    """A JPEG with something of a photo's detail."""
    small = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(file, "JPEG", quality=90, icc_profile=profile)
    return file.getvalue()


def wide() -> bytes:
    """sRGB's profile with the primaries of Display P3, so that each number is another colour."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    columns = {b"rXYZ": (33780, 15814, -69), b"gXYZ": (19138, 45367, 2746), b"bXYZ": (10300, 4355, 51382)}
    for name, column in columns.items():  # s15Fixed16, under D50
        entry = made.index(name)
        start = int.from_bytes(made[entry + 4 : entry + 8]) + 8
        made[start : start + 12] = b"".join(number.to_bytes(4, signed=True) for number in column)
    return bytes(made)


def passed_over(picture: Image.Image, profile: bytes | None) -> Image.Image:
    return picture.convert("RGB")


def seconds(data: bytes, to_srgb: Callable[..., Image.Image]) -> float:
    """CPU-seconds of decoding a picture."""
    kept, images.to_srgb = images.to_srgb, to_srgb
    try:
        started = time.process_time()
        for _ in range(_TOGETHER):
            decode(data)
        return (time.process_time() - started) / _TOGETHER
    finally:
        images.to_srgb = kept


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files: Mapping[str, bytes] = {
        name: photo(given.side, profile)
        for name, profile in (("no profile", None), ("sRGB", own), ("Display P3", wide()))
    }
    ways = {"followed": images.to_srgb, "passed over": passed_over}
    found: dict[tuple[str, str], list[float]] = {(name, way): [] for name in files for way in ways}
    for _ in range(given.rounds):
        for name, way in found:
            found[name, way].append(1000 * seconds(files[name], ways[way]))
    medians = {key: statistics.median(values) for key, values in found.items()}
    rows = [
        (n, f"{(a := medians[n, 'followed']):.1f}", f"{(b := medians[n, 'passed over']):.1f}", f"{a / b:.2f}")
        for n in files
    ]
    show(("profile", "followed, ms", "passed over, ms", "ratio"), rows)


if __name__ == "__main__":
    main()
