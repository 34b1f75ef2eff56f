"""Training a small CLIP from scratch on pairs in memory, with the trainer that fine-tuning uses.

Meant for the demo and the tests: takes a minute or two on two cores.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, NamedTuple

import numpy as np
import open_clip
import torch
from PIL import Image, ImageOps

from mmprod.encoders.hardware import Precision
from mmprod.encoders.towers import trim
from mmprod.encoders.training.dual import InfoNCE
from mmprod.encoders.training.loader import Loader
from mmprod.encoders.training.options import Options
from mmprod.encoders.training.pace import Pace
from mmprod.encoders.training.sampler import Sampler
from mmprod.encoders.training.trainer import Trainer
from mmprod.storage.errors import InputError

_LOOK = open_clip.transform.PreprocessCfg(resize_mode="longest", fill_color=255)
LEAST, MOST = 60, 720  # steps
_SCALE = 30.0  # initial logit scale (temperature 1/30): training is too short to learn it
_MARGIN = 8  # pixels by which stored pictures exceed the tower's input, for random crops


@dataclass(frozen=True)
class Plan:
    """Duration and hyperparameters; `learning_rate` is reached after 20 steps, then falls as a cosine.

    Without `steps`, their number is chosen to fit into `seconds`, from the pace of the first steps, but at
    least `LEAST` and at most `MOST`.
    """

    steps: int | None = None
    seconds: float = 150
    batch: int = 128
    learning_rate: float = 1.5e-3
    seed: int = 0
    precision: Precision | Literal["auto"] = "auto"

    def fitting(self, pace: float) -> int:
        """The number of steps, if one takes `pace` seconds."""
        return self.steps or round(min(max(self.seconds / pace, LEAST), MOST))


class Trained(NamedTuple):
    """A trained model, the number of steps, the seconds of a step, and the precision."""

    model: torch.nn.Module
    tokenizer: Any
    steps: int
    seconds: float
    precision: Precision


class Crops:
    """Random crops of `side` pixels from pictures in memory, uint8 [n, 3, side + margin, side + margin].

    Half of the crops are mirrored; colours do not change.
    """

    def __init__(self, pictures: np.ndarray, side: int, seed: int) -> None:
        self.pictures, self.side, self.seed = pictures, side, seed

    def __getitem__(self, at: tuple[int, int]) -> np.ndarray:
        random = np.random.default_rng([self.seed, *at])
        room = self.pictures.shape[-1] - self.side
        top, left = random.integers(room + 1, size=2)
        crop = self.pictures[at[1], :, top : top + self.side, left : left + self.side]
        return crop[..., ::-1] if random.random() < 0.5 else crop


@dataclass(frozen=True)
class Pairs:
    """Training pairs in memory: `pictures` uint8 [n, 3, s, s], `titles` in normal form."""

    pictures: np.ndarray
    titles: list[str]

    @property
    def identity(self) -> np.ndarray:
        """int64 [n, 3]: item and picture (-1: unknown) and title, numbered without regard to case."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(title.casefold(), len(known)) for title in self.titles]
        unknown = np.full(len(numbers), -1)
        return np.stack([unknown, unknown, np.array(numbers)], axis=1)


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
    return Pairs(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)), titles)


def train(
    pairs: Pairs, config: dict[str, Any], plan: Plan, on_step: Callable[[int, int, float], None] | None = None
) -> Trained:
    """Train a model of open_clip configuration `config`.

    Pairs with equal titles are positives of each other, never negatives. `on_step` is called with each step's
    number (from 1), the expected number of steps, and the loss. The same seed and steps on the same machine
    give the same weights. With fewer pairs than `plan.batch`, a batch holds all of them.
    """
    model, tokenizer = untrained(config, plan.seed)
    batch = min(plan.batch, len(pairs.titles))
    options = Options(
        batch_size=batch,
        lr=plan.learning_rate,
        warmup=20,
        grad_clip_norm=None,
        seed=plan.seed,
        precision=plan.precision,
    )
    pictures = Crops(pairs.pictures, config["vision_cfg"]["image_size"], plan.seed)
    loader = Loader(pictures, pairs.titles, pairs.identity, lambda titles: trim(model, tokenizer(titles)))
    trainer = Trainer(model, InfoNCE(), options, plan.steps or MOST, "cpu")
    sampler, pace = Sampler(len(pairs.titles), batch, plan.seed), Pace()
    for rows in loader.batches(sampler, 1, trainer.steps):
        scalars = trainer.advance(rows)
        pace.tick()
        if pace.known:
            trainer.steps = plan.fitting(pace.seconds)
            pace.warn()
        if on_step:
            on_step(trainer.step, trainer.steps, scalars["loss"])
        if trainer.step == trainer.steps:
            break
    model = model.eval().to(memory_format=torch.contiguous_format)
    return Trained(model, tokenizer, trainer.step, pace.seconds, trainer.backward.precision)


def untrained(config: dict[str, Any], seed: int) -> tuple[Any, Any]:
    """A model of open_clip configuration `config` with random weights, and its tokenizer."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config, init_logit_scale=math.log(_SCALE))
    look = {**vars(_LOOK), "size": config["vision_cfg"]["image_size"]}
    open_clip.set_model_preprocess_cfg(model, look)
    model.open_clip_config = config
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    return model.to(memory_format=torch.channels_last), tokenizer
