"""The fingerprint of an encoder: vectors may be compared only if their encoders' fingerprints are equal."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch


def fingerprint_of(model: torch.nn.Module, preprocessing: Mapping[str, Any]) -> str:
    """sha256 (64 hex digits) over the named weights, the model's printed architecture and `preprocessing`.

    Weights are hashed as stored in memory, so another precision gives another fingerprint.
    """
    digest = hashlib.sha256(json.dumps(preprocessing, sort_keys=True, default=str).encode())
    digest.update(repr(model).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
