"""A tiny encoder with random weights: enough wherever what it says does not matter."""

from typing import Any

import open_clip
import pytest
import torch
from PIL import Image

from mmprod.encoders.clip import Encoder, wrap
from mmprod.encoders.train import Plan, load_pairs, tiny_config, train

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


@pytest.fixture
def tokenizer() -> Any:
    return open_clip.SimpleTokenizer(context_length=32)
