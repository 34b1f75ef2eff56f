"""Contrastive losses of a batch of pairs, some of which may be the same product."""

import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

from mmprod.encoders.losses.positives import full, similarity, uniform, with_own


def info_nce(image: Tensor, text: Tensor, scale: Tensor | float, positive: Tensor) -> Tensor:
    """Symmetric InfoNCE with several positives (CLIP, Radford et al. 2021; targets as in ALBEF's retrieval).

    L = ½ [CE(s · I Tᵀ, Y) + CE(s · T Iᵀ, Y')], Y_ij = [i ~ j] / Σ_j [i ~ j] and Y' the same over columns.
    If each pair's only positive is itself, this is CLIP's loss.

    `image` and `text` float [n, d], unit rows; `scale` s, the inverse temperature; `positive` bool [n, n].
    Returns a scalar, the mean over rows.
    """
    logits, positive = similarity(image, text, scale), with_own(positive)
    forth = F.cross_entropy(logits, uniform(positive, logits.dtype))
    back = F.cross_entropy(logits.T, uniform(positive.T, logits.dtype))
    return (forth + back) / 2


def siglip(
    image: Tensor, text: Tensor, scale: Tensor | float, bias: Tensor | float, positive: Tensor
) -> Tensor:
    """Pairwise sigmoid loss (SigLIP, Zhai et al. 2023, eq. 1).

    L = 1/n Σ_i Σ_j −log σ(z_ij (s · x_i·y_j + b)), z_ij = +1 for positives, −1 for all others.

    `image` and `text` float [n, d], unit rows; `scale` s; `bias` b; `positive` bool [n, n]. A scalar.
    """
    offset = full(bias) if isinstance(bias, Tensor) else bias
    logits = similarity(image, text, scale) + offset
    signs = 2 * with_own(positive).to(logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(image)
