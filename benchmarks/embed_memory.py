"""Memory of an embedding run over many pictures, with some of 40 megapixels among them.

    python benchmarks/embed_memory.py [--pictures 200000] [--large 40] [--plot memory.png]

Distinct small JPEGs, and among them PNGs and JPEGs of 40 megapixels; the encoder of `mmprod train` with
random weights. `mmprod embed` runs as a process of its own; its resident memory is read every half second.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from load.tables import show
from PIL import Image

from mmprod.encoders.clip import save, wrap
from mmprod.encoders.train import tiny_config, untrained

STEP = 10_000
LARGE = (6400, 6200)
MIB = 2**20


def rows(count: int, large: int) -> Iterator[pa.RecordBatch]:
    """Products with a picture and a title, STEP at a time; `large` of the pictures have 40 megapixels."""
    every = max(1, count // max(1, large))
    for start in range(0, count, STEP):
        numbers = range(start, min(start + STEP, count))
        pictures = [picture(n, large=large > 0 and n % every == every // 2) for n in numbers]
        yield pa.RecordBatch.from_pydict(
            {
                "product_id": [f"p{n:08}" for n in numbers],
                "title": [f"lamp {n}" for n in numbers],
                "image": pictures,
            }
        )


def picture(number: int, large: bool) -> bytes:
    """A picture that no other number has."""
    out, colours = io.BytesIO(), [number % 256, number // 256 % 256, number // 65536 % 256]
    if large:
        made = Image.new("RGB", LARGE, tuple(colours))
        made.save(out, "PNG" if number % 2 else "JPEG")
        return out.getvalue()
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[:, :48], pixels[:48, 48:] = colours, 255
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def prepare(folder: Path, count: int, large: int) -> None:
    """An encoder, and a lake with the products."""
    (folder / "base").mkdir()
    save(wrap(*untrained(tiny_config(), 0)), folder / "base")
    batches = rows(count, large)
    first = next(batches)
    with pq.ParquetWriter(folder / "day.parquet", first.schema) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)
    (folder / "mmprod.toml").write_text(
        'lake = "lake"\n[encoder]\nmodel = "local-dir:base"\nbackend = "torch-fp32"\n'
    )
    words = [command(), "ingest", "--day", "2025-03-03", "--table", "day.parquet"]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def command() -> Path:
    return Path(sys.executable).with_name("mmprod")


def watched(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and resident bytes while `mmprod embed` runs."""
    started, seconds, resident = time.monotonic(), list[float](), list[int]()
    with subprocess.Popen([command(), "embed"], cwd=folder, stdout=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                resident.append(watched.memory_full_info().uss)  # without the pages of the store's files
            except psutil.NoSuchProcess:
                break
            seconds.append(time.monotonic() - started)
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"mmprod embed ended with {process.returncode}")
    return np.array(seconds), np.array(resident)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--large", type=int, default=40, help="how many of them have 40 megapixels")
    parser.add_argument("--plot", type=Path, help="a PNG of memory over time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), given.pictures, given.large)
        seconds, resident = watched(Path(folder))
    tenths = np.array_split(resident / MIB, 10)
    show(
        ("tenth of the run", "median, MiB", "most"),
        [(n + 1, float(np.median(t)), float(t.max())) for n, t in enumerate(tenths)],
    )
    rate = given.pictures / seconds[-1]
    print(f"{given.pictures:,} pictures in {seconds[-1]:,.0f} s, {rate:,.0f} a second")
    if given.plot:
        figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
        axes.plot(seconds, resident / MIB)
        axes.set(xlabel="seconds", ylabel="MiB", ylim=(0, None))
        figure.savefig(given.plot, dpi=110)


if __name__ == "__main__":
    main()
