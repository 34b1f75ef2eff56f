"""A whole embedding run against `clip-retrieval inference`: the same weights, pictures and titles.

    python benchmarks/embed_run.py --peer PYTHON [--products 320] [--cores 1] [--set 'backend = "torch-fp32"']

PYTHON is the interpreter of an environment with clip-retrieval 2.45 ("setuptools<80" "numpy<2"). ViT-B-32
with random weights; fashion titles; shop photos resized to 800 pixels. Both run as whole processes on --cores
cores and take turns: for the given number of products, and for three times as many, which gives the cost of a
further product. Then the vectors are compared.
"""

import argparse
import io
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from load.tables import show
from PIL import Image
from safetensors.torch import load_file

from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer
from mmprod.encoders import folders
from mmprod.encoders.clip import save, wrap

DATA = Path(__file__).parents[2] / "shared" / "data"
MODEL, SIDE = "ViT-B-32", 800
TIMES = 3  # as many products in the larger run


class Cost(NamedTuple):
    seconds: float
    cpu: float


def products(data: Path, count: int) -> Iterator[tuple[str, bytes, str]]:
    """Id, JPEG of 800 pixels, and title."""
    titles = pq.read_table(data / "fashion/products.parquet", columns=["title"])["title"].to_pylist()
    photos = pq.read_table(data / "grocery/photos_train.parquet", columns=["image"])["image"].to_pylist()
    titles = [title for title in titles if title]
    for number in range(count):
        picture = Image.open(io.BytesIO(photos[number % len(photos)])).convert("RGB")
        out = io.BytesIO()
        large = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        large.save(out, "JPEG", quality=88 + number // len(photos))
        yield f"p{number:06}", out.getvalue(), titles[number * 7 % len(titles)]


def prepare(folder: Path, data: Path, sizes: tuple[int, ...], settings: list[str]) -> None:
    """The model for both sides, and for each size a lake with the products and a tar with the same."""
    torch.manual_seed(0)
    model = open_clip.create_model(MODEL)
    model.open_clip_config = open_clip.get_model_config(MODEL)
    (folder / "base").mkdir()
    save(wrap(model, open_clip.get_tokenizer(MODEL)), folder / "base")
    torch.save(load_file(folder / "base" / folders.OPEN_CLIP_WEIGHTS), folder / "weights.pt")
    rows = list(products(data, max(sizes)))
    for size in sizes:
        place = folder / str(size)
        place.mkdir()
        columns = dict(zip(("product_id", "image", "title"), zip(*rows[:size], strict=True), strict=True))
        pq.write_table(
            pa.table({name: list(values) for name, values in columns.items()}), place / "day.parquet"
        )
        with tarfile.open(place / "00000.tar", "w") as tar:
            for key, picture, title in rows[:size]:
                for ending, content in (("jpg", picture), ("txt", title.encode())):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        section = "".join(f"{line}\n" for line in settings)
        content = f'lake = "lake"\n[export]\nsamples = 64\n[encoder]\nmodel = "local-dir:../base"\n{section}'
        (place / "mmprod.toml").write_text(content)
        run(place, [ours(), "ingest", "--day", "2025-03-03", "--table", "day.parquet"], 2)


def ours() -> str:
    return str(Path(sys.executable).with_name("mmprod"))


def run(folder: Path, words: list[str], cores: int) -> Cost:
    """A command on the first cores; its seconds and CPU-seconds."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(cores),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    line = ["taskset", "-c", ",".join(map(str, allowed)), *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def embed(place: Path, cores: int) -> Cost:
    """`mmprod embed` of all products, as on a first day."""
    shutil.rmtree(place / "lake" / "embeddings", ignore_errors=True)
    return run(place, [ours(), "embed"], cores)


def infer(place: Path, peer: Path, cores: int) -> Cost:
    """`clip-retrieval inference` of the same."""
    shutil.rmtree(place / "peer", ignore_errors=True)
    words = [str(peer.with_name("clip-retrieval")), "inference", "--input_dataset", "00000.tar"]
    words += ["--output_folder", "peer", "--input_format", "webdataset", "--batch_size", "64"]
    words += ["--num_prepro_workers", "1", "--clip_model", f"open_clip:{MODEL}/{place.parent / 'weights.pt'}"]
    words += [
        "--enable_wandb",
        "False",
        "--use_jit",
        "False",
        "--wds_image_key",
        "jpg",
        "--wds_caption_key",
        "txt",
    ]
    return run(place, words, cores)


def worst_cosines(place: Path) -> dict[str, float]:
    """By modality, the worst cosine between the vectors of both sides."""
    keys = pq.read_table(place / "peer" / "metadata" / "metadata_0.parquet")["image_path"].to_pylist()
    root = next((place / "lake" / "embeddings").iterdir())
    pointer = read_pointer(root)
    table = EmbeddingTable(root, pointer.encoder, pointer.width, len(pointer.position)).vectors_of(keys)
    assert table["product_id"].to_pylist() == keys
    found = {}
    for name, peer in (("image", "img_emb/img_emb_0.npy"), ("text", "text_emb/text_emb_0.npy")):
        here = np.stack(table[name].to_numpy()).astype(np.float32)
        there = np.load(place / "peer" / peer).astype(np.float32)
        lengths = np.linalg.norm(here, axis=1) * np.linalg.norm(there, axis=1)
        found[name] = float(((here * there).sum(axis=1) / lengths).min())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peer", type=Path, required=True, help="Python of an environment with clip-retrieval"
    )
    parser.add_argument("--products", type=int, default=320)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--set", action="append", default=[], help="a line of the section [encoder]")
    given = parser.parse_args()
    if not given.data.is_dir():
        raise SystemExit(f"no folder {given.data}: name one with real products by --data")
    peer = given.peer.absolute()
    sizes = (given.products, TIMES * given.products)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, given.data, sizes, given.set)
        for size in sizes:
            embed(folder / str(size), given.cores)  # measures backends, if need be; their figures are kept
        costs: dict[tuple[str, int], list[Cost]] = {}
        for _ in range(given.rounds):
            for size in sizes:
                place = folder / str(size)
                costs.setdefault(("mmprod embed", size), []).append(embed(place, given.cores))
                costs.setdefault(("clip-retrieval", size), []).append(infer(place, peer, given.cores))
        cosines = worst_cosines(folder / str(sizes[1]))
    median = {key: statistics.median(cost.cpu for cost in found) for key, found in costs.items()}
    seconds = {key: statistics.median(cost.seconds for cost in found) for key, found in costs.items()}
    lines = []
    for name in ("mmprod embed", "clip-retrieval"):
        small, large = median[name, sizes[0]], median[name, sizes[1]]
        further = (large - small) / (sizes[1] - sizes[0]) * sizes[0]
        lines.append((name, seconds[name, sizes[0]], small, large, further))
    show(("", f"{sizes[0]}: s", "CPU-s", f"{sizes[1]}: CPU-s", f"{sizes[0]} further: CPU-s"), lines)
    whole, more = lines[1][2] / lines[0][2], lines[1][4] / lines[0][4]
    print(f"clip-retrieval against mmprod: whole process {whole:.2f}x, a further product {more:.2f}x")
    print(f"worst cosine: {', '.join(f'{name} {value:.7f}' for name, value in cosines.items())}")


if __name__ == "__main__":
    main()
