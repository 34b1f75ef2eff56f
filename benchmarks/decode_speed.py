"""Decoding and shrinking of pictures against open_clip's own transform, on one core.

    taskset -c 1 python benchmarks/decode_speed.py [--data ../shared/data] [--worst]

Pictures: grocery photos of 348 pixels, and the same resized to 224 and 800 and saved at quality 90.
The two sides take turns; CPU seconds, medians. `--worst` instead puts all real pictures through a
ViT-B-32 with random weights both ways, and prints the worst centred cosine of the vectors.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
from PIL import Image

from mmprod.datasets.images.images import decode
from mmprod.datasets.images.shrink import shrink
from mmprod.encoders.clip import Encoder, wrap

ROUNDS, PICTURES, SIDES, BATCH = 5, 100, (224, 348, 800), 64
DATA = Path(__file__).parents[2] / "shared" / "data"
TABLES = {
    "fashion": ("fashion/products.parquet", "image"),
    "shop photos": ("grocery/photos_train.parquet", "image"),
    "packshots": ("grocery/products.parquet", "image"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--worst", action="store_true", help="compare the vectors of all real pictures")
    parser.add_argument("--step", type=int, default=1, help="of --worst: only each STEP-th picture")
    given = parser.parse_args()
    if not given.data.is_dir():
        raise SystemExit(f"no folder {given.data}: name one with real pictures by --data")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = wrap(open_clip.create_model("ViT-B-32"), open_clip.get_tokenizer("ViT-B-32"))
    if given.worst:
        for name in TABLES:
            _compare_vectors(name, _pictures(given.data, name)[:: given.step], encoder)
        photos = _pictures(given.data, "shop photos")[:: given.step]
        for side in (800, 801):  # an even one, and one whose half reaches beyond it
            _compare_vectors(f"shop photos of {side}", [_resized(photo, side) for photo in photos], encoder)
    else:
        _compare_speed(_pictures(given.data, "shop photos")[:PICTURES], encoder)


def _pictures(data: Path, name: str) -> list[bytes]:
    path, column = TABLES[name]
    return [
        picture for picture in pq.read_table(data / path, columns=[column])[column].to_pylist() if picture
    ]


def _compare_speed(photos: Sequence[bytes], encoder: Encoder) -> None:
    print("| pixels | open_clip's transform | ours | ours, of open_clip's pictures/s |\n|---|---|---|---|")
    for side in SIDES:
        pictures = photos if side == 348 else [_resized(photo, side) for photo in photos]
        ways: tuple[Callable[[], object], ...] = (
            lambda some=pictures: [encoder.transform(Image.open(io.BytesIO(p)).convert("RGB")) for p in some],  # type: ignore[misc]
            lambda some=pictures: [shrink(p, encoder.geometry) for p in some],  # type: ignore[misc]
        )
        seconds: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for way, taken in zip(ways, seconds, strict=True):
                start = time.process_time()
                way()
                taken.append(time.process_time() - start)
        theirs, ours = (len(pictures) / statistics.median(taken) for taken in seconds)
        print(f"| {side} | {theirs:,.0f}/s | {ours:,.0f}/s | {ours / theirs:.1f}x |")


def _resized(photo: bytes, side: int) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def _compare_vectors(name: str, pictures: Sequence[bytes], encoder: Encoder) -> None:
    """Print the worst centred cosine between the vectors of both ways."""
    both = []
    for pixels in (
        lambda p: encoder.geometry.pixels(decode(p)),
        lambda p: shrink(p, encoder.geometry).pixels,
    ):
        batches = (pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH))
        both.append(np.concatenate([encoder.of_pixels([pixels(p) for p in batch]) for batch in batches]))
    centre = both[0].mean(axis=0)
    first, second = ((v - centre) / np.linalg.norm(v - centre, axis=1, keepdims=True) for v in both)
    cosines = (first * second).sum(axis=1)
    worst, median = cosines.min(), float(np.median(cosines))
    print(f"{name}: {len(pictures):,} pictures, centred cosine {worst:.6f} at worst, median {median:.6f}")


if __name__ == "__main__":
    main()
