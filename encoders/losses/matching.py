"""Matching a picture with a title: which wrong partner to ask about, and the loss of the answer."""

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

from mmprod.encoders.losses.positives import full, with_own


@torch.no_grad()
def hard_negatives(similarity: Tensor, positive: Tensor, generator: torch.Generator) -> Tensor:
    """For each row one column that is no positive of it, int64 [n]; -1 where there is none.

    Drawn with chance ∝ exp(similarity) over the row's non-positives, so that what looks alike comes more
    often (ALBEF, Li et al. 2021, section 3.2). Neither a row's own partner nor any positive is ever drawn.

    `similarity` float [n, m], already multiplied by the logit scale; `positive` bool [n, m]; `generator` on
    the same device: the same state draws the same.
    """
    barred = with_own(positive)
    chances = full(similarity).masked_fill(barred, -torch.inf).softmax(dim=1)
    none = barred.all(dim=1)
    chances[none] = 1
    drawn = torch.multinomial(chances, 1, generator=generator).squeeze(1)
    return drawn.masked_fill(none, -1)


def matching_loss(logits: Tensor, matched: Tensor) -> Tensor:
    """Cross-entropy of "do these match?" (ITM; ALBEF eq. 4), the mean over k questions.

    `logits` float [k, 2]: no, yes; `matched` bool [k].
    """
    return F.cross_entropy(full(logits), matched.long())
