"""Low-rank adaptation of a frozen model (LoRA, Hu et al. 2021) by peft, and merging it into the weights."""

import copy
import re
from typing import Any

from torch import nn

from mmprod.datasets.lazy import lazy
from mmprod.encoders.training.layers import HEADS, block_of

peft = lazy("peft")  # optional: only training with LoRA needs it
_ATTENTION_INNER = re.compile(r"\.out_proj$")


def add_lora(model: nn.Module, rank: int) -> None:
    """Freeze the model except its heads, and add low-rank matrices to every linear layer in its blocks."""
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.MultiheadAttention)
        and block_of(name + ".") is not None
        and not _ATTENTION_INNER.search(name)
    ]
    heads = [name for name, _ in model.named_parameters() if HEADS.search(name)]
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
    peft.inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if name in heads:
            parameter.requires_grad_(True)


def merged(model: Any) -> Any:
    """A copy of the model with the low-rank matrices merged into its weights, in its original classes."""
    layer_of_peft = peft.tuners.tuners_utils.BaseTunerLayer
    model = copy.deepcopy(model)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, layer_of_peft)}
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        if not any(name.startswith(f"{outer}.") for outer in layers):  # attention merges its own projection
            setattr(model.get_submodule(parent), child, _unloaded(layer))
    return model


def _unloaded(layer: Any) -> nn.Module:
    if hasattr(layer, "unload_and_optionally_merge_module"):
        module: nn.Module = layer.unload_and_optionally_merge_module(
            merge=True, safe_merge=False, adapter_names=None
        )
        return module
    layer.merge()
    base: nn.Module = layer.get_base_layer()
    return base
