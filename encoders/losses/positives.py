"""Shared parts of the losses: which pairs are the same product, targets, similarities in full precision."""

import torch
from torch import Tensor


def positives(rows: Tensor, columns: Tensor) -> Tensor:
    """Which pairs share an item, a picture or a title: bool [n, m].

    `rows` int64 [n, 3] and `columns` int64 [m, 3] hold numbers of each pair's item, picture and title; -1 is
    unknown and equal to nothing. Not transitive: a and b may share a picture, b and c a title.
    """
    known = rows[:, None, :] >= 0
    return ((rows[:, None, :] == columns[None, :, :]) & known).any(dim=2)


def with_own(positive: Tensor) -> Tensor:
    """`positive` bool [n, m] with the own partner of each row i, column i, added to its positives."""
    return positive | torch.eye(*positive.shape, dtype=torch.bool, device=positive.device)


def uniform(positive: Tensor, dtype: torch.dtype) -> Tensor:
    """Targets [n, m]: each row's positives share probability 1 equally; a row without positives is all 0."""
    share = positive.to(dtype)
    return share / share.sum(dim=1, keepdim=True).clamp(min=1)


def similarity(rows: Tensor, columns: Tensor, scale: Tensor | float) -> Tensor:
    """scale · rows columnsᵀ, [n, d] by [m, d] to [n, m], in fp32 even under autocast (float64 stays)."""
    with torch.autocast(rows.device.type, enabled=False):
        return scale * (full(rows) @ full(columns).T)


def full(values: Tensor) -> Tensor:
    """fp16 and bf16 as fp32; fp32 and float64 as they are."""
    return values.float() if values.itemsize < 4 else values
