"""An encoder's fingerprint: equal fingerprints give equal vectors, so only they may be compared."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch


def fingerprint_of(model: torch.nn.Module, preprocessing: Mapping[str, Any]) -> str:
    """sha256 (64 hex digits) over the weights by name, the architecture's printed form and `preprocessing`.

    Weights are hashed as they lie in memory, so a change of precision is a change of fingerprint.
    """
    digest = hashlib.sha256(json.dumps(preprocessing, sort_keys=True, default=str).encode())
    digest.update(repr(model).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
