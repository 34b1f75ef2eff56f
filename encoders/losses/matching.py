"""Image-text matching (ITM): sampling of hard negatives, and the loss."""

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

from mmprod.encoders.losses.positives import full, with_own


@torch.no_grad()
def hard_negatives(similarity: Tensor, positive: Tensor, generator: torch.Generator) -> Tensor:
    """For each row one column that is not a positive of it, int64 [n]; -1 if there is none.

    Drawn with probability ∝ exp(similarity) among the row's non-positives, so that similar columns are drawn
    more often (ALBEF, Li et al. 2021, section 3.2). The row's own partner is never drawn either.

    `similarity` float [n, m], already multiplied by the logit scale; `positive` bool [n, m]; `generator` on
    the same device: equal states give equal draws.
    """
    barred = with_own(positive)
    chances = full(similarity).masked_fill(barred, -torch.inf).softmax(dim=1)
    none = barred.all(dim=1)
    chances[none] = 1
    drawn = torch.multinomial(chances, 1, generator=generator).squeeze(1)
    return drawn.masked_fill(none, -1)


def matching_loss(logits: Tensor, matched: Tensor) -> Tensor:
    """Cross-entropy of the binary matching decision (ITM; ALBEF eq. 4), the mean over k pairs.

    `logits` float [k, 2]: no match, match; `matched` bool [k].
    """
    return F.cross_entropy(full(logits), matched.long())
