"""A tiny encoder with random weights: enough wherever what it says does not matter."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image

from mmprod.encoders.clip import Encoder, wrap
from mmprod.encoders.export.build import build
from mmprod.encoders.export.spec import Kind
from mmprod.encoders.random_base import random_base
from mmprod.encoders.train import Plan, load_pairs, tiny_config, train, untrained

VOCABULARY = ["red blue green lamp dress mug", "table small steel wood 灯 红色", "Blue's l'amp 12.5cm ÄÖ a_b"]
COLOURS = ("red", "green", "blue", "yellow", "black", "white")


def picture(colour: str, side: int = 80) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


@pytest.fixture(scope="session")
def model() -> tuple[torch.nn.Module, Any]:
    pairs = load_pairs([(picture(c), c) for c in COLOURS], tiny_config())
    trained = train(pairs, tiny_config(), Plan(steps=1, batch=8))
    return trained.model, trained.tokenizer


@pytest.fixture(scope="session")
def encoder(model: tuple[torch.nn.Module, Any]) -> Encoder:
    return wrap(*model)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Encoder, Path]]:
    """An encoder of a family with random weights, and its engine in fp32: made once, as that takes seconds.

    Whoever changes the folder works on a copy.
    """

    @cache
    def made(family: str, kind: Kind = "onnx") -> tuple[Encoder, Path]:
        tiny = family == "tiny"
        encoder = wrap(*untrained(tiny_config(), 0)) if tiny else random_base(family, VOCABULARY, 64)  # type: ignore[arg-type]
        folder = tmp_path_factory.mktemp(f"{family}-{kind}")
        build(encoder, kind, "fp32", ("image", "text"), folder)
        return encoder, folder

    return made


@pytest.fixture
def tokenizer() -> Any:
    return open_clip.SimpleTokenizer(context_length=32)
