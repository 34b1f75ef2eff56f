"""The same losses and weights as open_clip's own training loop."""

import math
from types import ModuleType
from typing import Any

import open_clip
import pytest
import torch
from open_clip.loss import SigLipLoss
from open_clip_train.scheduler import cosine_lr

from mmprod.encoders.training.batch import Batch, pixels

STEPS, WARMUP, LR, WD = 14, 4, 1e-3, 0.2


def batches(driver: ModuleType) -> list[torch.Tensor]:
    """Row numbers of each step: titles within a step all differ."""
    draw = torch.Generator().manual_seed(3)
    return [torch.randperm(20, generator=draw)[:8] for _ in range(STEPS)]


def theirs(driver: ModuleType, kind: str) -> tuple[list[float], Any]:
    """open_clip_train's main.py and train.py, without what does not matter here."""
    model = driver.new_model(kind)
    loss_of = SigLipLoss() if kind == "siglip" else open_clip.ClipLoss()

    def exclude(name: str, p: torch.Tensor) -> bool:
        return p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name

    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if exclude(n, p)], "weight_decay": 0.0},
            {"params": [p for n, p in named if not exclude(n, p)], "weight_decay": WD},
        ],
        lr=LR,
        betas=(0.9, 0.98),
        eps=1e-6,
    )
    scheduler = cosine_lr(optimizer, LR, WARMUP, STEPS)
    losses = []
    for step, rows in enumerate(batches(driver)):
        scheduler(step)
        optimizer.zero_grad()
        texts = driver.tokenize([TITLES[row] for row in rows.tolist()])
        images = torch.stack([torch.from_numpy(driver.Pictures()[0, row]) for row in rows.tolist()])
        images, texts = model.encode_image(pixels(images, model), True), model.encode_text(texts, True)
        more = {"logit_bias": model.logit_bias} if kind == "siglip" else {}
        loss = loss_of(images, texts, model.logit_scale.exp(), **more)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        losses.append(loss.item())
    return losses, model


TITLES = [" ".join(str(2 + (row + 3 * k) % 50) for k in range(1 + row % 6)) for row in range(20)]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_losses_and_weights_equal_open_clip(driver: ModuleType, kind: str) -> None:
    assert len(set(TITLES)) == len(TITLES)
    expected, reference = theirs(driver, kind)
    trainer = driver.new_trainer(kind, steps=STEPS, warmup=WARMUP, lr=LR, wd=WD)
    found = []
    for rows in batches(driver):
        batch = Batch(
            torch.stack([torch.from_numpy(driver.Pictures()[0, row]) for row in rows.tolist()]),
            driver.trim(trainer.model, driver.tokenize([TITLES[row] for row in rows.tolist()])),
            torch.full((8, 3), -1),
        )
        assert kind == "siglip" or batch.tokens.shape[1] < driver.CONTEXT
        found.append(trainer.advance(batch)["loss"])
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[-1] < 0.95 * found[0]
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], value, atol=1e-4, rtol=0)
