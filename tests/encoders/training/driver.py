"""A small fine-tuning that tests run in their own process, in one that is killed, and in several at once.

python driver.py JOBS       a JSON list of {"folder", "kind", options …}; each leaves its weights there
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from mmprod.encoders.towers import trim
from mmprod.encoders.training.batch import Batch
from mmprod.encoders.training.distributed import processes, rank, world
from mmprod.encoders.training.dual import contrastive
from mmprod.encoders.training.loader import Loader
from mmprod.encoders.training.options import Options
from mmprod.encoders.training.sampler import Sampler
from mmprod.encoders.training.trainer import Scalars, Trainer, fit, prepare

PAIRS, SIDE, WIDTH, CONTEXT, WORDS = 40, 16, 16, 12, 60
PLAN: dict[str, Any] = {
    "batch_size": 8, "steps": 9, "warmup": 2, "lr": 1e-3, "eval_steps": 3, "checkpoint_steps": 3,
    "precision": "fp32", "alpha_steps": 5, "queue_size": 20, "momentum": 0.8,
}  # fmt: skip
TITLES = [" ".join(str((7 * row + k) % 50 + 2) for k in range(1 + row % 5)) for row in range(PAIRS)]
Evaluator = Callable[[Any], Scalars]


class Pictures:
    """Noise, another for every pair and epoch."""

    def __getitem__(self, at: tuple[int, int]) -> np.ndarray:
        return np.random.default_rng(at).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)


def tokenize(titles: list[str]) -> torch.Tensor:
    """Numbers as words, then the end of the text, the largest token: int64 [n, CONTEXT]."""
    rows = torch.zeros(len(titles), CONTEXT, dtype=torch.int64)
    for row, title in enumerate(titles):
        words = [int(word) for word in title.split()]
        rows[row, : len(words) + 1] = torch.tensor([*words, WORDS - 1])
    return rows


def new_model(kind: str = "clip", seed: int = 0) -> Any:
    """A tiny CLIP; kind "drop" drops random patches, "siglip" has a logit bias and no causal mask."""
    torch.manual_seed(seed)
    vision = {"image_size": SIDE, "patch_size": 4, "width": WIDTH, "layers": 2, "head_width": 8}
    text = {"context_length": CONTEXT, "vocab_size": WORDS, "width": WIDTH, "heads": 2, "layers": 2}
    if kind == "drop":
        vision["patch_dropout"] = 0.4
    if kind == "siglip":
        text |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
        model = open_clip.CustomTextCLIP(WIDTH, vision, text, init_logit_bias=-3)
    else:
        model = open_clip.CLIP(WIDTH, vision, text)
    look = open_clip.transform.PreprocessCfg(size=SIDE)
    open_clip.set_model_preprocess_cfg(model, dict(vars(look)))
    return model


def identities(items: bool) -> np.ndarray:
    """int64 [PAIRS, 3]: two listings an item, or each its own; pictures are their own, titles repeat."""
    rows = np.arange(PAIRS)
    numbers = {title: number for number, title in enumerate(dict.fromkeys(TITLES))}
    return np.stack([rows // 2 if items else np.full(PAIRS, -1), rows, [numbers[t] for t in TITLES]], axis=1)


def batch_of(model: Any, rows: range = range(8)) -> Batch:
    tokens = trim(model, tokenize([TITLES[row] for row in rows]))
    pictures = torch.from_numpy(np.stack([Pictures()[0, row] for row in rows]))
    return Batch(pictures, tokens, torch.from_numpy(identities(items=False))[list(rows)])


def size(model: Any) -> Scalars:
    """A measure that changes with every weight."""
    return {"size": -sum(float(p.double().abs().sum()) for p in model.parameters())}


def new_trainer(kind: str = "clip", **changes: Any) -> Trainer:
    """A trainer of a fresh model; `changes` to PLAN, and "same_item"."""
    same_item = changes.pop("same_item", False)
    options = Options(**{**PLAN, **changes})
    model = new_model(kind)
    prepare(model, options)
    objective = contrastive(model, WIDTH, options, same_item)
    return Trainer(model, objective, options, options.total_steps(PAIRS, world()), "cpu")


def train(
    folder: Path,
    kind: str = "clip",
    evaluate: Evaluator = size,
    on_step: Callable[[int, Scalars], None] = lambda step, scalars: None,
    **changes: Any,
) -> tuple[Any, Trainer]:
    """Fit to the last step, or on from what lies in `folder`; the best model, and the trainer."""
    items = bool(changes.get("same_item"))
    trainer = new_trainer(kind, **changes)
    options = trainer.options
    who = identities(items)
    sampler = Sampler(PAIRS, options.batch_size * world(), options.seed, who[:, 0] if items else None)
    loader = Loader(Pictures(), TITLES, who, lambda texts: trim(trainer.model, tokenize(texts)))
    return fit(trainer, loader, sampler, folder, evaluate, "size", on_step), trainer


def main() -> None:
    def tell(step: int, scalars: Scalars) -> None:
        if rank() == 0:
            print(step, flush=True)

    torch.set_num_threads(1)
    with processes("cpu"):
        for job in json.loads(sys.argv[1]):
            folder = Path(job.pop("folder"))
            _, trainer = train(folder, on_step=tell, **job)
            if rank() == 0:
                torch.save(trainer.model.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    main()
