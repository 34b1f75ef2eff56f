"""Train a small CLIP from scratch with the symmetric contrastive loss (Radford et al. 2021, InfoNCE).

Made for the demo and the tests: about a minute on two cores. Augmentation is geometric only (flip and a
bounded crop), because colour is part of what a product is.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from PIL import Image, ImageOps

from mmprod.datasets.errors import InputError

_PREPROCESS = open_clip.transform.PreprocessCfg(resize_mode="longest", fill_color=255)
_MARGIN = 8  # a picture is kept this many pixels larger than the tower's input, for random crops


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train: `learning_rate` is reached after 20 steps, then falls as a cosine."""

    steps: int = 240
    batch: int = 256
    learning_rate: float = 2.5e-3
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """Training pairs in memory: `pictures` uint8 [n, 3, side, side], `titles` in normal form."""

    pictures: torch.Tensor
    titles: list[str]


def tiny_config() -> dict[str, Any]:
    """The smallest useful model, 64-pixel pictures to 128 dimensions, as an open_clip configuration."""
    text = resources.files("mmprod.encoders").joinpath("configs/tiny.json").read_text()
    config: dict[str, Any] = json.loads(text)
    return config


def load_pairs(pairs: Iterable[tuple[Image.Image, str]], config: dict[str, Any]) -> Pairs:
    """Fit RGB pictures into a white square a little larger than the tower's input."""
    side = config["vision_cfg"]["image_size"] + _MARGIN
    pictures, titles = [], []
    for picture, title in pairs:
        pictures.append(np.asarray(ImageOps.pad(picture, (side, side), color="white")))
        titles.append(title)
    if not titles:
        raise InputError("no training pairs: the table has no product with both a picture and a title")
    return Pairs(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), titles)


def train(
    pairs: Pairs, config: dict[str, Any], plan: Plan, on_step: Callable[[int, float], None] | None = None
) -> tuple[torch.nn.Module, Any]:
    """Train a model of open_clip configuration `config`; returns it with its tokenizer.

    Pairs whose titles are equal are positives of each other, never negatives. `on_step` is told each
    step's number (from 1) and loss. The same seed on the same machine gives the same weights.
    """
    torch.manual_seed(plan.seed)
    model = open_clip.CLIP(**config)
    open_clip.set_model_preprocess_cfg(
        model, {**vars(_PREPROCESS), "size": config["vision_cfg"]["image_size"]}
    )
    model = model.to(memory_format=torch.channels_last)
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    tokens, names = tokenizer(pairs.titles), _numbers(pairs.titles)
    optimizer = torch.optim.AdamW(
        model.parameters(), plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.1, fused=True
    )
    model.train()
    for step in range(1, plan.steps + 1):
        _set_rate(optimizer, plan, step)
        rows = torch.randint(len(pairs.titles), (plan.batch,))
        batch = augment(pairs.pictures[rows], config["vision_cfg"]["image_size"])
        with torch.autocast("cpu", torch.bfloat16):
            image = model.encode_image(normalise(batch), normalize=True)
            text = model.encode_text(tokens[rows], normalize=True)
        loss = contrastive_loss(image.float(), text.float(), model.logit_scale.exp(), names[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if on_step:
            on_step(step, loss.item())
    return model.eval().to(memory_format=torch.contiguous_format), tokenizer


def contrastive_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, names: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE over unit rows [n, d]: rows with equal `names` share the target equally.

    L = ½ [CE(s · I Tᵀ, Y) + CE(s · T Iᵀ, Y)] with Y_ij = [name_i = name_j] / Σ_j [name_i = name_j].
    """
    same = (names[:, None] == names[None, :]).float()
    target = same / same.sum(dim=1, keepdim=True)
    logits = scale * image @ text.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def augment(pictures: torch.Tensor, side: int) -> torch.Tensor:
    """A random crop of side `side` and, half of the time, a mirror image: no pixel changes its colour."""
    room = pictures.shape[-1] - side
    top, left = torch.randint(room + 1, (2,)).tolist()
    crop = pictures[..., top : top + side, left : left + side]
    return crop.flip(3) if torch.rand(()) < 0.5 else crop


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [n, 3, s, s] to float32 with the mean and deviation that inference uses, channels last."""
    mean = 255 * torch.tensor(_PREPROCESS.mean).view(1, 3, 1, 1)
    deviation = 255 * torch.tensor(_PREPROCESS.std).view(1, 3, 1, 1)
    return ((pictures.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)


def _set_rate(optimizer: torch.optim.Optimizer, plan: Plan, step: int) -> None:
    rate = plan.learning_rate * min(1, step / 20) * (1 + math.cos(math.pi * step / plan.steps)) / 2
    for group in optimizer.param_groups:
        group["lr"] = rate


def _numbers(titles: Sequence[str]) -> torch.Tensor:
    """Equal titles to equal numbers, int64 [n]."""
    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(title.casefold(), len(known)) for title in titles])
