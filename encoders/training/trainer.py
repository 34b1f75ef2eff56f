"""The training loop: trains a base model and returns the best one; resumes bit for bit from a checkpoint."""

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmprod.encoders.losses.momentum import update_twin
from mmprod.encoders.training import checkpoint
from mmprod.encoders.training.backward import Backward
from mmprod.encoders.training.batch import Batch
from mmprod.encoders.training.distributed import average_gradients, rank, wait, world
from mmprod.encoders.training.layers import checkpoint_gradients, freeze, train_mode
from mmprod.encoders.training.loader import Loader
from mmprod.encoders.training.lora import add_lora, merged
from mmprod.encoders.training.objective import Objective
from mmprod.encoders.training.optim import learning_rate, optimizer_of, set_learning_rate
from mmprod.encoders.training.options import Options
from mmprod.encoders.training.pace import Pace
from mmprod.encoders.training.sampler import Sampler
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder

log = logging.getLogger(__name__)
Scalars = dict[str, float]
Evaluator = Callable[[Any], Scalars]
"""Measures a model (in evaluation mode) on held-out pairs."""


def prepare(model: Any, options: Options) -> None:
    """Apply the options for LoRA, freezing and gradient checkpointing to a model."""
    if options.lora_rank:
        add_lora(model, options.lora_rank)
    if options.lock_image:
        freeze(model, "image", options.lock_image_unlocked_groups)
    if options.lock_text:
        freeze(model, "text", options.lock_text_unlocked_layers)
    if options.grad_checkpointing:
        checkpoint_gradients(model)


@dataclass
class Best:
    """The best held-out result so far."""

    step: int = 0
    value: float = -math.inf
    scalars: Scalars = field(default_factory=dict)


class Trainer:
    """A prepared model in training. `state` and `restore` cover everything that later steps depend on."""

    def __init__(self, model: Any, objective: Objective, options: Options, steps: int, device: str) -> None:
        self.model, self.objective, self.options = model.to(device), objective.to(device), options
        self.steps, self.device, self.step, self.best = steps, device, 0, Best()
        self.optimizer = optimizer_of(model, options)
        self.backward = Backward(model, objective, options, device, options.seed * 1009 + rank())
        self.average = copy.deepcopy(model).requires_grad_(False) if options.ema_decay else None

    def advance(self, batch: Batch) -> Scalars:
        """One optimiser step. Raises: StateError when the loss is no longer a number."""
        self.step += 1
        train_mode(self.model)
        rate = learning_rate(self.step, self.steps, self.options)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.backward(batch.to(self.device), self.step)
        if not math.isfinite(sum(losses.values())):
            raise StateError(
                f"step {self.step}: the loss is {losses}; lower --lr, raise --warmup or use fp32"
            )
        self._move()
        return {
            **losses,
            "loss": sum(losses.values()),
            "lr": rate,
            "scale": float(self.model.logit_scale.detach().exp()),
        }

    def _move(self) -> None:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        average_gradients(trained)
        scaler = self.backward.scaler
        if self.options.grad_clip_norm:
            scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(trained, self.options.grad_clip_norm)
        scaler.step(self.optimizer)
        scaler.update()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self.objective.after_step(self.model, self.step)
        if self.average is not None:
            update_twin(self.average, self.model, self.options.ema_decay)

    def finished(self) -> Any:
        """A copy of the model in its publishable form (averaged, LoRA merged), in evaluation mode."""
        model = merged(self.average if self.average is not None else self.model)
        return model.eval().requires_grad_(False)

    def state(self) -> dict[str, Any]:
        """Everything that later steps depend on."""
        return {
            "step": self.step,
            "best": vars(self.best),
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.backward.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.step, self.best = state["step"], Best(**state["best"])
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.backward.scaler.load_state_dict(state["scaler"])


def fit(
    trainer: Trainer,
    loader: Loader,
    sampler: Sampler,
    folder: Path,
    evaluate: Evaluator,
    metric: str,
    on_step: Callable[[int, Scalars], None],
) -> Any:
    """Train to the last step, continuing from the newest checkpoint in `folder`; returns the best model.

    `evaluate` measures the model every `eval_steps` and after the last step; the model with the highest
    `metric` is kept in ``best.pt``. `on_step` is called with each step's losses, learning rate, pairs a
    second and, if any, measures.
    """
    options = trainer.options
    if state := checkpoint.latest(folder, trainer.device):
        trainer.restore(state)
        log.info("continuing after step %d of %d", trainer.step, trainer.steps)
    clock, pace = time.perf_counter(), Pace()
    for batch in loader.batches(sampler, trainer.step + 1, trainer.steps, rank(), world()):
        scalars = trainer.advance(batch)
        pace.tick()
        if pace.known and trainer.device == "cpu":
            pace.warn()
        clock, before = time.perf_counter(), clock
        scalars["pairs_per_second"] = len(batch) * world() / (clock - before)
        last = trainer.step == trainer.steps
        if trainer.step % options.eval_steps == 0 or last:
            scalars |= _measure(trainer, evaluate, metric, folder)
            clock = time.perf_counter()
        if (trainer.step % options.checkpoint_steps == 0 or last) and rank() == 0:
            checkpoint.save(folder, trainer.step, trainer.state(), options.keep_checkpoints)
        on_step(trainer.step, scalars)
    wait()
    return _best_model(trainer, folder)


def _measure(trainer: Trainer, evaluate: Evaluator, metric: str, folder: Path) -> Scalars:
    """Held-out measures, in the first process only; a new best model is saved at once."""
    if rank() != 0:
        return {}
    model = trainer.finished()
    scalars = {name: float(value) for name, value in evaluate(model).items()}  # NumPy can't be checkpointed
    if metric not in scalars:
        raise InputError(f"metric {metric!r} is not measured: there are {', '.join(sorted(scalars))}")
    if scalars[metric] > trainer.best.value:
        trainer.best = Best(trainer.step, scalars[metric], scalars)
        make_folder(folder)
        checkpoint.write_tensors(folder / "best.pt", {"step": trainer.step, "model": model.state_dict()})
    return scalars


def _best_model(trainer: Trainer, folder: Path) -> Any:
    if not trainer.best.step and rank() == 0:
        raise StateError(
            f"no measure was a number after {trainer.step} steps; check the held-out pairs and --lr"
        )
    model = trainer.finished()
    kept = checkpoint.read_tensors(folder / "best.pt", trainer.device)
    if kept["step"] != trainer.best.step and rank() == 0:
        raise StateError(
            f"{folder / 'best.pt'} is of step {kept['step']}, not {trainer.best.step}; remove {folder} and "
            "train again"
        )
    model.load_state_dict(kept["model"])
    return model
