"""A batch worked on in parts: GradCache equals one pass, plain accumulation is the mean over the parts."""

from types import ModuleType
from typing import Any

import pytest
import torch

from mmprod.encoders.training.backward import Backward
from mmprod.encoders.training.batch import Batch
from mmprod.encoders.training.dual import features
from mmprod.encoders.training.objective import Objective
from mmprod.encoders.training.trainer import Trainer
from mmprod.storage.errors import InputError

Gradients = dict[str, torch.Tensor]
SHARES = (0.3, 0.3, 0.3, 0.1)


def gradients(trainer: Trainer, batch: Batch, step: int = 1) -> tuple[dict[str, float], Gradients]:
    trainer.model.train()
    trainer.model.zero_grad()
    losses = trainer.backward(batch, step)
    found = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    return losses, found


@pytest.mark.parametrize(
    "recipe",
    [{}, {"kind": "siglip"}, {"loss": "soft"}, {"same_item": True}, {"lock_image": True}],
    ids=["clip", "siglip", "soft", "same-item", "locked"],
)
def test_grad_cache_equals_one_pass(driver: ModuleType, recipe: dict[str, Any]) -> None:
    whole = driver.new_trainer(**recipe)
    parts = driver.new_trainer(**recipe, accum_freq=4, grad_cache=True)
    batch = driver.batch_of(whole.model, range(10))  # parts of 3, 3, 3 and 1
    losses, expected = gradients(whole, batch)
    cached_losses, found = gradients(parts, batch)
    assert cached_losses == pytest.approx(losses, rel=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-5, rtol=1e-3)


def test_the_second_pass_drops_the_same(driver: ModuleType) -> None:
    """With dropout no single pass is comparable, but the same parts without cache are: their features under
    the same seeds, compared as a whole."""
    trainer = driver.new_trainer("drop", accum_freq=4, grad_cache=True)
    batch = driver.batch_of(trainer.model)
    losses, found = gradients(trainer, batch)
    trainer.model.zero_grad()
    parts = [features(trainer.model, rows) for rows in trainer.backward._parts(batch, 1)]
    image, text = (torch.cat(side) for side in zip(*parts, strict=True))
    loss = trainer.objective.compare(trainer.model, image, text, batch, 1)["contrastive"]
    loss.backward()
    assert losses["contrastive"] == pytest.approx(float(loss.detach()), rel=1e-6)
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=2e-5, rtol=1e-3)
    assert gradients(trainer, batch, step=2)[0] != losses  # another step drops other patches


def test_plain_accumulation_is_the_mean_over_parts(driver: ModuleType) -> None:
    whole, parts = driver.new_trainer(), driver.new_trainer(accum_freq=4)
    batch = driver.batch_of(whole.model, range(10))
    pieces = [gradients(whole, batch.rows(at, at + 3)) for at in (0, 3, 6, 9)]
    losses, found = gradients(parts, batch)
    mean = sum(share * piece[0]["contrastive"] for share, piece in zip(SHARES, pieces, strict=True))
    assert losses["contrastive"] == pytest.approx(mean, rel=1e-6)
    assert losses["contrastive"] < 0.8 * gradients(whole, batch)[0]["contrastive"]  # fewer negatives
    for name, gradient in found.items():
        expected = sum(w * piece[1][name] for w, piece in zip(SHARES, pieces, strict=True))
        torch.testing.assert_close(gradient, expected, atol=2e-5, rtol=1e-3)


def test_grad_cache_wants_a_contrastive_objective(driver: ModuleType) -> None:
    trainer = driver.new_trainer(accum_freq=4, grad_cache=True)
    with pytest.raises(InputError, match=r"--grad-cache .* not Objective"):
        Backward(trainer.model, Objective(), trainer.options, "cpu", 0)
