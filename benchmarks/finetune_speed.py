"""One step of fine-tuning ViT-B/32: our trainer against open_clip's own fp32 loop, on the same batches.

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/finetune_speed.py [--data DIR] [--batch 32] [--steps 5]

DIR holds products.parquet with columns title and image; without it, products are rendered. Weights are random
and the same on both sides; neither side's time has reading or decoding in it. open_clip's side is the loop of
open_clip_train: CLIP, ClipLoss, AdamW in its two groups, cosine_lr, tokens padded to 77, pictures that come
normalised. Ours normalises and trims within the time. Steps are interleaved, figures are medians; the losses
of both stand side by side. Then variants of ours, each interleaved with the default.
"""

import argparse
import io
import logging
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import open_clip
import pyarrow.parquet as pq
import torch
from open_clip_train.scheduler import cosine_lr
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from mmprod.encoders.towers import trim
from mmprod.encoders.training.batch import Batch, pixels
from mmprod.encoders.training.dual import contrastive
from mmprod.encoders.training.options import Options
from mmprod.encoders.training.trainer import Trainer, prepare

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fashion"
MODEL, LR, WARMUP, TOTAL = "ViT-B-32", 1e-5, 2, 50
PLAN: dict[str, Any] = {"lr": LR, "warmup": WARMUP, "wd": 0.2, "grad_clip_norm": None}
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32, trimmed": {"precision": "fp32"},
    "bf16, padded to 77": {},
    "picture tower locked but 2 groups": {"lock_image": True, "lock_image_unlocked_groups": 2},
    "text tower locked": {"lock_text": True},
    "picture tower locked": {"lock_image": True},
    "low rank, 8": {"lora_rank": 8},
}
Step = Callable[["Data", int], float]


@dataclass(frozen=True)
class Data:
    """A step's pairs: uint8 [n, 3, 224, 224], the same as normalised floats, int64 [n, 77]."""

    pictures: torch.Tensor
    normalised: torch.Tensor
    tokens: torch.Tensor


def read(data: Path, batch: int, steps: int) -> list[Data]:
    """Batches of products whose titles all differ."""
    if not (data / "products.parquet").exists():
        return _read(_rendered(batch * steps), batch, steps)
    return _read(data / "products.parquet", batch, steps)


def _rendered(products: int) -> Path:
    folder = Path(tempfile.mkdtemp())
    command = [Path(sys.executable).with_name("mmprod"), "sample-catalog", folder, "--products"]
    subprocess.run([*command, str(max(84, 2 * products))], check=True, stdout=subprocess.DEVNULL)
    return folder / "day1.parquet"


def _read(table: Path, batch: int, steps: int) -> list[Data]:
    rows: dict[str, bytes] = {}
    for part in pq.ParquetFile(table).iter_batches(512, columns=["title", "image"]):
        rows |= {row["title"]: row["image"] for row in part.to_pylist() if row["title"] and row["image"]}
        if len(rows) >= batch * steps:
            break
    model, tokenizer, found = new_model(), open_clip.get_tokenizer(MODEL), list(rows.items())
    made = []
    for at in range(0, batch * steps, batch):
        some = found[at : at + batch]
        pictures = torch.stack([_picture(content) for _, content in some])
        tokens = tokenizer([title for title, _ in some])
        made.append(Data(pictures, pixels(pictures, model).contiguous(), tokens))
    return made


def _picture(content: bytes) -> torch.Tensor:
    return pil_to_tensor(Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224)))


def new_model() -> Any:
    torch.manual_seed(0)
    return open_clip.create_model(MODEL)


def open_clip_step() -> Step:
    """A step as open_clip_train's main.py and train.py take it, with --precision fp32."""
    model, loss_of = new_model().train(), open_clip.ClipLoss()
    named = list(model.named_parameters())
    plain = [p for n, p in named if p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n]
    known = {id(p) for p in plain}
    rest = [p for _, p in named if id(p) not in known]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": rest, "weight_decay": PLAN["wd"]}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98), eps=1e-6)
    scheduler = cosine_lr(optimizer, LR, WARMUP, TOTAL)

    def step(data: Data, number: int) -> float:
        scheduler(number)
        optimizer.zero_grad()
        image, text, scale = model(data.normalised, data.tokens)
        loss = loss_of(image, text, scale)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return float(loss.item())

    return step


def our_step(padded: bool = False, **changes: Any) -> Step:
    """A step of our trainer."""
    options, model = Options(**{**PLAN, **changes}), new_model()
    prepare(model, options)
    trainer = Trainer(model, contrastive(model, 512, options), options, TOTAL, "cpu")

    def step(data: Data, number: int) -> float:
        tokens = data.tokens if padded else trim(model, data.tokens)
        return trainer.advance(Batch(data.pictures, tokens, torch.full((len(tokens), 3), -1)))["loss"]

    return step


def interleaved(sides: list[Step], data: list[Data]) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds and losses of each side; the first step warms up and its time is left out."""
    seconds: list[list[float]] = [[] for _ in sides]
    losses: list[list[float]] = [[] for _ in sides]
    for number, rows in enumerate(data):
        for side, step in enumerate(sides):
            begun = time.perf_counter()
            losses[side].append(step(rows, number))
            if number:
                seconds[side].append(time.perf_counter() - begun)
    return seconds, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5, help="timed steps, after one to warm up")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # open_clip's, that weights are random
    torch.set_num_threads(1)
    data = read(given.data, given.batch, given.steps + 1)
    lengths = [trim(new_model(), rows.tokens).shape[1] for rows in data]
    print(f"{MODEL}, {given.batch} pairs a step, titles of {min(lengths)} to {max(lengths)} tokens\n")
    ours = our_step()
    seconds, losses = interleaved([open_clip_step(), ours], data)
    print("| step | loss, open_clip fp32 | loss, ours bf16 |\n|---|---|---|")
    for number, (theirs, mine) in enumerate(zip(*losses, strict=True), 1):
        print(f"| {number} | {theirs:.4f} | {mine:.4f} |")
    baseline, default = (median(side) for side in seconds)
    print("\n| | s a step | pairs/s | against open_clip |\n|---|---|---|---|")
    tell("open_clip's loop, fp32, padded to 77", baseline, given.batch, 1.0)
    tell("ours: bf16, trimmed", default, given.batch, baseline / default)
    for name, changes in VARIANTS.items():
        variant = our_step(padded="padded" in name, **changes)
        (together, found), _ = interleaved([ours, variant], data)
        tell(name, median(found), given.batch, baseline / default * median(together) / median(found))


def tell(name: str, seconds: float, batch: int, ratio: float) -> None:
    print(f"| {name} | {seconds:.2f} | {batch / seconds:.1f} | {ratio:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
