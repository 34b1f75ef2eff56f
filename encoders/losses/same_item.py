"""Same-item loss: listings of one item attract each other, picture to picture, title to title and across."""

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

from mmprod.encoders.losses.positives import similarity, uniform, with_own

_NEVER = torch.finfo(torch.float32).min  # its exponential is 0; a row of -inf would have no softmax


def same_item_loss(
    image: Tensor,
    text: Tensor,
    positive: Tensor,
    scale: Tensor | float,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Supervised contrastive loss over items (Khosla et al. 2020, L_out): w_ii L_ii + w_tt L_tt + w_it L_it.

    L of rows x against columns y is the mean, over rows that have a positive, of
        −1/|P(i)| Σ_{p ∈ P(i)} log [ exp(s x_i·y_p) / Σ_{a ∈ A(i)} exp(s x_i·y_a) ].
    L_ii, pictures against pictures, and L_tt, titles against titles: A(i) is every row but i, P(i) the other
    listings of the item. L_it: A(i) is every row, P(i) includes the own partner; the mean of both directions.
    A term in which no row has a positive is 0.

    `image` and `text` float [n, d], unit rows; `positive` bool [n, n], the same item; `scale` s; `weights`
    (w_ii, w_tt, w_it). Returns a scalar.
    """
    own = torch.eye(len(image), dtype=torch.bool, device=image.device)
    others, across = positive & ~own, with_own(positive)
    pictures = similarity(image, image, scale).masked_fill(own, _NEVER)
    titles = similarity(text, text, scale).masked_fill(own, _NEVER)
    cross = similarity(image, text, scale)
    w_ii, w_tt, w_it = weights
    return (
        w_ii * _contrast(pictures, others)
        + w_tt * _contrast(titles, others)
        + w_it * (_contrast(cross, across) + _contrast(cross.T, across.T)) / 2
    )


def _contrast(logits: Tensor, positive: Tensor) -> Tensor:
    """Mean over rows with a positive of the cross-entropy with a uniform target over positives."""
    losses = F.cross_entropy(logits, uniform(positive, logits.dtype), reduction="none")
    return losses.sum() / positive.any(dim=1).sum().clamp(min=1)
