"""Low-rank training: what learns, what it equals, and what is left of it in the result."""

import copy
from typing import Any

import pytest
import torch

from mmprod.encoders.clip import Encoder, wrap
from mmprod.encoders.random_base import Kind, random_base
from mmprod.encoders.towers import encode_text, trim
from mmprod.encoders.training.batch import Batch, pixels
from mmprod.encoders.training.dual import contrastive
from mmprod.encoders.training.layers import HEADS
from mmprod.encoders.training.lora import merged
from mmprod.encoders.training.options import Options
from mmprod.encoders.training.trainer import Trainer, prepare

TITLES = ["red shoe for men", "blue shirt", "green summer hat", "white lamp"] * 8
OPTIONS = Options(lora_rank=2, lr=1e-2, warmup=0, precision="fp32")
KINDS: tuple[Kind, ...] = ("clip", "siglip", "chinese-clip", "blip")


def batch_of(base: Encoder) -> Batch:
    draw = torch.Generator().manual_seed(1)
    shape = (4, 3, base.geometry.height, base.geometry.height)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    return Batch(pictures, trim(base.model, base.tokenizer(TITLES[:4])), torch.arange(4).repeat(3, 1).T)


@torch.no_grad()
def outputs(model: Any, batch: Batch) -> torch.Tensor:
    model.eval()
    image = model.encode_image(pixels(batch.pictures, model), normalize=True)
    return torch.cat([image, encode_text(model, batch.tokens, normalize=True)])


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest) -> tuple[Encoder, Trainer, torch.Tensor]:
    """A base, a trainer of its low-rank additions after four steps, and what it gave before the first."""
    base = random_base(request.param, TITLES, 32)
    model = copy.deepcopy(base.model)
    prepare(model, OPTIONS)
    trainer = Trainer(model, contrastive(model, base.width, OPTIONS), OPTIONS, 4, "cpu")
    before = outputs(model, batch_of(base))
    for _ in range(4):
        trainer.advance(batch_of(base))
    return base, trainer, before


def test_untrained_additions_change_nothing(trained: tuple[Encoder, Trainer, torch.Tensor]) -> None:
    base, _, before = trained
    torch.testing.assert_close(before, outputs(base.model, batch_of(base)), atol=1e-6, rtol=0)


def test_only_additions_and_heads_learn(trained: tuple[Encoder, Trainer, torch.Tensor]) -> None:
    base, trainer, _ = trained
    learning = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert {name for name in learning if "lora_" not in name} == {
        name for name, _ in base.model.named_parameters() if HEADS.search(name)
    }
    for tower in ("vis", "t"):  # both towers have additions
        assert any(name.startswith(tower) and "lora_" in name for name in learning)
    frozen = {name: p for name, p in trainer.model.named_parameters() if not p.requires_grad}
    plain = base.model.state_dict()
    for name, value in frozen.items():
        expected = plain[name.replace("base_layer.", "")]  # peft's attention adds and subtracts at each step
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=0)


def test_folded_in_it_is_a_plain_model_that_gives_the_same(
    trained: tuple[Encoder, Trainer, torch.Tensor],
) -> None:
    base, trainer, before = trained
    batch = batch_of(base)
    adapted = outputs(trainer.model, batch)
    assert (adapted - before).abs().max() > 1e-2
    plain = merged(trainer.model)
    torch.testing.assert_close(outputs(plain, batch), adapted, atol=1e-5, rtol=0)
    assert plain.state_dict().keys() == base.model.state_dict().keys()
    classes = [type(module) for module in plain.modules()]
    assert classes == [type(module) for module in base.model.modules()]
    torch.testing.assert_close(outputs(trainer.model, batch), adapted)  # folding worked on a copy
    assert wrap(plain, base.tokenizer).fingerprint != base.fingerprint


def test_a_locked_tower_gets_no_additions_that_learn() -> None:
    model = random_base("clip", TITLES, 32).model
    prepare(model, Options(lora_rank=2, lock_image=True, lock_image_unlocked_groups=2))
    learning = [n for n, p in model.named_parameters() if p.requires_grad and n.startswith("visual.")]
    assert learning and all(n == "visual.proj" or "resblocks.1." in n for n in learning)
