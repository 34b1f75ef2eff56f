"""The caption loss: predicting each token from the picture and the tokens before it."""

import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

from mmprod.encoders.losses.positives import full

_IGNORED = -100


def language_loss(logits: Tensor, tokens: Tensor, ignore: Tensor, smoothing: float) -> Tensor:
    """Next-token cross-entropy with label smoothing (LM of BLIP, Li et al. 2022; smoothing 0.1 there).

    L = mean over counted (i, t ≥ 1) of −Σ_v q(v) log softmax(logits[i, t−1])_v, where
    q(v) = (1 − ε) [v = tokens[i, t]] + ε / V (Szegedy et al. 2016).

    `logits` float [n, L, V]: position t predicts token t+1; `tokens` int64 [n, L]; `ignore` bool [n, L]:
    tokens that are not to be predicted, such as padding and the prompt; `smoothing` ε.
    Returns a scalar, 0 if every token is ignored.
    """
    counted = ~ignore[:, 1:]
    wanted = tokens[:, 1:].masked_fill(~counted, _IGNORED)
    total = F.cross_entropy(
        full(logits[:, :-1]).flatten(0, 1),
        wanted.flatten(),
        ignore_index=_IGNORED,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return total / counted.sum().clamp(min=1)
