"""Training: the loss against a plain reference, no colour moved, equal seeds, and it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image, ImageDraw

from mmprod.datasets.errors import InputError
from mmprod.encoders.clip import wrap
from mmprod.encoders.train import Pairs, Plan, augment, contrastive_loss, load_pairs, tiny_config, train

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


def test_with_distinct_names_the_loss_is_clip_s() -> None:
    torch.manual_seed(0)
    image, text = (F.normalize(torch.randn(6, 16), dim=1) for _ in range(2))
    logits = 10 * image @ text.T
    plain = (F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))) / 2
    loss = contrastive_loss(image, text, torch.tensor(10.0), torch.arange(6))
    torch.testing.assert_close(loss, plain)


def test_equal_names_are_positives_by_hand() -> None:
    """Two pairs, equal names, all similarities 1: each row's target is ½, ½, so the loss is ln 2."""
    same = torch.ones(2, 1)
    loss = contrastive_loss(same, same, torch.tensor(5.0), torch.tensor([7, 7]))
    assert loss.item() == pytest.approx(np.log(2), abs=1e-6)


def test_the_loss_has_the_right_gradient() -> None:
    torch.manual_seed(1)
    image, text = (torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    scale = torch.tensor(3.0, dtype=torch.float64)

    def loss(i: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(i, t, scale, torch.tensor([0, 1, 1, 2]))

    assert torch.autograd.gradcheck(loss, (image, text))


def test_augmentation_moves_no_colour() -> None:
    torch.manual_seed(2)
    pictures = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    for _ in range(20):
        for source, made in zip(pictures, augment(pictures, 12), strict=True):
            colours = {tuple(c) for c in source.flatten(1).T.tolist()}
            assert {tuple(c) for c in made.flatten(1).T.tolist()} <= colours
            assert made.shape == (3, 12, 12)


def test_the_same_seed_gives_the_same_weights(pairs: Pairs) -> None:
    one, two, other = (train(pairs, tiny_config(), Plan(2, 8, seed=seed))[0] for seed in (5, 5, 6))
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_it_learns_which_title_goes_with_which_picture(pairs: Pairs) -> None:
    losses: list[float] = []
    plan = Plan(steps=60, batch=48, learning_rate=2e-3)
    encoder = wrap(*train(pairs, tiny_config(), plan, lambda step, loss: losses.append(loss)))
    names = [(c, s) for c in COLOURS for s in SHAPES]
    image = encoder.pictures([drawn(c, s) for c, s in names])
    text = encoder.titles([f"{c} {s}" for c, s in names])
    assert len(losses) == 60
    assert losses[-1] < losses[0] / 2
    assert ((image @ text.T).argmax(1) == np.arange(len(names))).mean() > 0.9


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(InputError, match="no training pairs"):
        load_pairs([], tiny_config())
