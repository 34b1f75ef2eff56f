"""AdamW with the parameter groups and the learning-rate schedule of contrastive fine-tuning."""

import math

import torch
from torch import nn

from mmprod.encoders.training.layers import blocks, depth
from mmprod.encoders.training.options import Options


def optimizer_of(model: nn.Module, options: Options) -> torch.optim.AdamW:
    """AdamW over the trainable parameters.

    Gains, biases and scales have no weight decay. Each layer's learning rate is multiplied by
    layer_decay^depth (Clark et al. 2020); 1: equal rates.
    """
    towers = {tower: blocks(model, tower) for tower in ("image", "text")}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if parameter.ndim < 2 else options.wd
            scale = options.layer_decay ** depth(name, towers)
            groups.setdefault((decay, scale), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": p, "weight_decay": decay, "scale": scale}
            for (decay, scale), p in sorted(groups.items(), key=lambda g: g[0])
        ],
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        fused=True,
    )


def learning_rate(step: int, steps: int, options: Options) -> float:
    """The learning rate of a step (from 1), as open_clip's ``cosine_lr``.

    A linear rise over `warmup` steps, at most half of all, then a cosine that would reach 0 one step after
    the last.
    """
    warmup = min(options.warmup, steps // 2)
    if step <= warmup:
        return options.lr * step / warmup
    return options.lr * (1 + math.cos(math.pi * (step - 1 - warmup) / (steps - warmup))) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set each group's learning rate to `rate` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
