"""Training: the loss against a plain reference, no colour moved, equal seeds, and it learns."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mmprod.encoders.clip import wrap
from mmprod.encoders.train import Crops, Pairs, Plan, load_pairs, tiny_config, train
from mmprod.storage.errors import InputError

COLOURS = ("red", "green", "blue", "yellow", "black", "orange")
SHAPES = ("square", "ring")


def drawn(colour: str, shape: str) -> Image.Image:
    picture = Image.new("RGB", (72, 72), "white")
    draw = ImageDraw.Draw(picture)
    if shape == "square":
        draw.rectangle((12, 12, 60, 60), fill=colour)
    else:
        draw.ellipse((8, 8, 64, 64), outline=colour, width=9)
    return picture


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    drawings = [(drawn(c, s), f"{c} {s}") for c in COLOURS for s in SHAPES]
    return load_pairs(drawings, tiny_config())


def test_augmentation_moves_no_colour() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (3, 3, 20, 20), dtype=np.uint8)
    crops = Crops(pictures, 12, seed=0)
    for epoch in range(20):
        for row, source in enumerate(pictures):
            made = crops[epoch, row]
            colours = {tuple(c) for c in source.reshape(3, -1).T.tolist()}
            assert {tuple(c) for c in made.reshape(3, -1).T.tolist()} <= colours
            assert made.shape == (3, 12, 12)


def test_equal_titles_are_the_same_product() -> None:
    pairs = Pairs(np.zeros((3, 3, 8, 8), np.uint8), ["Red Lamp", "blue lamp", "red lamp"])
    assert pairs.identity[:, 2].tolist() == [0, 1, 0]


def test_the_same_seed_gives_the_same_weights(pairs: Pairs) -> None:
    one, two, other = (train(pairs, tiny_config(), Plan(2, batch=8, seed=seed)).model for seed in (5, 5, 6))
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_it_learns_which_title_goes_with_which_picture(pairs: Pairs) -> None:
    losses: list[float] = []
    plan = Plan(steps=60, batch=48, learning_rate=2e-3)
    trained = train(pairs, tiny_config(), plan, lambda step, steps, loss: losses.append(loss))
    encoder = wrap(trained.model, trained.tokenizer)
    names = [(c, s) for c in COLOURS for s in SHAPES]
    image = encoder.pictures([drawn(c, s) for c, s in names])
    text = encoder.titles([f"{c} {s}" for c, s in names])
    assert len(losses) == 60
    assert losses[-1] < losses[0] / 2
    assert ((image @ text.T).argmax(1) == np.arange(len(names))).mean() > 0.9


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(InputError, match="no training pairs"):
        load_pairs([], tiny_config())
