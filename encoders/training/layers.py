"""The tower and depth of each parameter, for freezing and layer-wise learning rates."""

import re
from typing import Any

from torch import nn

from mmprod.storage.errors import InputError

_BLOCK = re.compile(r"(?:resblocks|blocks|layers?|stages)\.(\d+)\.|(?:^|\.)layer(\d)\.")
_TEXT = ("text", "transformer.", "token_embedding", "ln_final", "positional_embedding", "cls_emb")
_IMAGE = ("visual", "vision")
HEADS = re.compile(
    r"^logit_(scale|bias)$|^itm_head\.|^(text|visual)_projection\b|^(vision|text)_proj\."  # models' own
    r"|^visual\.(proj|head|attnpool)\b|^visual\.trunk\.(head|attn_pool)\."  # picture towers
    r"|^text\.(text_projection|proj)\b|^text_decoder\.cls\."  # text towers
)
_LAST_NORM = re.compile(
    r"ln_final\.|ln_post\.|post_layernorm\.|^visual\.trunk\.(norm|fc_norm)\.|^visual\.attn_pool\."
)


def tower_of(name: str) -> str | None:
    """ "image", "text", or None for parameters of neither tower (logit scale, matching head)."""
    if name.startswith(_IMAGE):
        return "image"
    return "text" if name.startswith(_TEXT) else None


def block_of(name: str) -> int | None:
    """The number of a parameter's block, from 0 at the input; None outside the blocks."""
    found = _BLOCK.search(name)
    return int(found[1] or int(found[2]) - 1) if found else None


def blocks(model: nn.Module, tower: str) -> int:
    """Number of blocks of a tower."""
    numbers = (block_of(name) for name, _ in model.named_parameters() if tower_of(name) == tower)
    return max((n + 1 for n in numbers if n is not None), default=0)


def depth(name: str, towers: dict[str, int]) -> int:
    """Number of layers between a parameter and the output, as open_clip counts unlocked layers.

    0 for heads, 1 for the last block and the norm after it, the largest for embeddings. `towers` maps each
    tower to its number of blocks.
    """
    tower, block = tower_of(name), block_of(name)
    if tower is None or HEADS.search(name):
        return 0
    if block is None:
        return 1 if _LAST_NORM.search(name) else towers[tower] + 1
    return towers[tower] - block


def freeze(model: nn.Module, tower: str, unlocked: int) -> None:
    """Freeze a tower except its last `unlocked` layers, counted from its head."""
    towers = {tower: blocks(model, tower)}
    for name, parameter in model.named_parameters():
        if tower_of(name) == tower and depth(name, towers) >= unlocked:
            parameter.requires_grad_(False)


def train_mode(model: Any) -> None:
    """Set training mode, but keep frozen batch normalisation layers in evaluation mode."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
            p.requires_grad for p in module.parameters()
        ):
            module.eval()


def checkpoint_gradients(model: Any) -> None:
    """Recompute activations in the backward pass instead of storing them.

    Raises: InputError for a model whose picture tower does not support it (open_clip's ResNets).
    """
    model.set_grad_checkpointing(True)
    able = (
        name.startswith(_IMAGE)
        for name, module in model.named_modules()
        if getattr(module, "grad_checkpointing", False) or getattr(module, "gradient_checkpointing", False)
    )
    if not any(able):
        raise InputError(
            f"the picture tower of this {type(model).__name__} can't recompute activations; leave out "
            "--grad-checkpointing and lower --batch-size, or add --accum-freq with --grad-cache"
        )
