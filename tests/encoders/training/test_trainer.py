"""What the trainer gives back: averages, the best model, and errors that say what to do."""

import copy
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from mmprod.storage.errors import InputError, StateError


@pytest.mark.parametrize("recipe", [{}, {"lora_rank": 2}, {"loss": "soft", "momentum": 0.75}])
def test_average_of_weights_by_hand(driver: ModuleType, recipe: dict[str, Any]) -> None:
    trainer = driver.new_trainer(ema_decay=0.75, **recipe)
    batch, expected = driver.batch_of(trainer.model), copy.deepcopy(trainer.model.state_dict())
    for _ in range(3):
        trainer.advance(batch)
        for name, value in trainer.model.state_dict().items():
            expected[name] = 0.75 * expected[name] + 0.25 * value
    followers = [trainer.average, *([trainer.objective.twin] if "loss" in recipe else [])]
    for follower in followers:
        for name, value in follower.state_dict().items():
            torch.testing.assert_close(value, expected[name], msg=lambda m, name=name: f"{name}: {m}")
    assert not torch.allclose(expected["visual.proj"], trainer.model.state_dict()["visual.proj"], atol=1e-5)


def test_the_best_model_is_returned_not_the_last(driver: ModuleType, tmp_path: Path) -> None:
    evaluated: list[dict[str, torch.Tensor]] = []

    def evaluate(model: Any) -> dict[str, float]:
        evaluated.append(copy.deepcopy(model.state_dict()))
        assert not model.training
        return {"size": np.float64([0.2, 0.9, 0.5][len(evaluated) - 1]), "other": 1.0}

    told: dict[int, dict[str, float]] = {}
    best, trainer = driver.train(tmp_path, evaluate=evaluate, on_step=told.__setitem__)
    assert trainer.best.step == 6 and trainer.best.scalars == {"size": 0.9, "other": 1.0}
    assert all(torch.equal(v, evaluated[1][k]) for k, v in best.state_dict().items())
    assert not all(torch.equal(v, evaluated[2][k]) for k, v in best.state_dict().items())
    assert [step for step in told if "size" in told[step]] == [3, 6, 9]
    assert told.keys() == set(range(1, 10))
    assert {"contrastive", "loss", "lr", "scale", "pairs_per_second"} <= told[1].keys()


def test_an_unknown_metric_is_refused(driver: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metric 'size' is not measured: there are R@1, mAP"):
        driver.train(tmp_path, evaluate=lambda model: {"R@1": 0.5, "mAP": 0.4})


def test_measures_that_are_no_numbers_give_no_model(driver: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no measure was a number after 9 steps"):
        driver.train(tmp_path, evaluate=lambda model: {"size": math.nan})


@pytest.mark.parametrize("precision", ["fp32", "amp_bf16"])
def test_a_loss_that_is_no_number_stops_the_run(driver: ModuleType, precision: str) -> None:
    trainer = driver.new_trainer(precision=precision)
    with torch.no_grad():
        trainer.model.visual.proj[0, 0] = math.nan
    before = copy.deepcopy(trainer.model.text_projection.detach())
    with pytest.raises(StateError, match=r"step 1: the loss is .*nan.*lower --lr"):
        trainer.advance(driver.batch_of(trainer.model))
    assert torch.equal(trainer.model.text_projection, before)


@pytest.mark.parametrize("precision", ["fp32", "amp_bf16", "amp"])
def test_it_learns_in_every_precision(driver: ModuleType, precision: str) -> None:
    trainer = driver.new_trainer(precision=precision, lr=3e-3, steps=40)
    losses = [trainer.advance(driver.batch_of(trainer.model))["loss"] for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_scale_stays_in_its_bounds(driver: ModuleType) -> None:
    trainer = driver.new_trainer()
    with torch.no_grad():
        trainer.model.logit_scale.fill_(9.0)
    assert trainer.advance(driver.batch_of(trainer.model))["scale"] == pytest.approx(100, rel=1e-5)


def test_the_gradient_is_clipped(driver: ModuleType) -> None:
    trainer = driver.new_trainer(grad_clip_norm=1e-3)
    trainer.advance(driver.batch_of(trainer.model))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in trainer.model.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-3)
