"""Momentum distillation: the momentum twin of a model, the queue of its features, and soft targets from both.

Li et al. 2021, "Align before Fuse" (ALBEF), sections 3.2 and 3.3; also used by BLIP (Li et al. 2022).
"""

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor, nn

from mmprod.encoders.losses.positives import positives, similarity, uniform, with_own


@torch.no_grad()
def update_twin(twin: nn.Module, model: nn.Module, momentum: float) -> None:
    """Move every parameter of `twin` towards `model`: θ' ← m θ' + (1 − m) θ.

    Running statistics are averaged in the same way, since those of the model don't fit the twin's weights;
    other buffers are copied.

    `twin` is a copy of `model`. Raises ValueError if they differ in their number of parameters.
    """
    for slow, fast in zip(twin.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
    for (name, kept), current in zip(twin.named_buffers(), model.buffers(), strict=True):
        if name.endswith(("running_mean", "running_var")):
            kept.lerp_(current, 1 - momentum)
        else:
            kept.copy_(current)


def ramp(step: int, steps: int, value: float) -> float:
    """A value that rises linearly from 0 to `value` over `steps` steps: ALBEF's α in the first epoch."""
    return value * min(1.0, step / steps) if steps else value


class Queue(nn.Module):
    """A ring buffer of the twin's features of the last `size` pairs.

    `image` and `text` fp32 [size, width], unit rows; `identity` int64 [size, 3]; `count` the number of pairs
    ever pushed. All are buffers of the module, so checkpoints contain them.
    """

    image: Tensor
    text: Tensor
    identity: Tensor
    count: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("image", torch.zeros(size, width))
        self.register_buffer("text", torch.zeros(size, width))
        self.register_buffer("identity", torch.full((size, 3), -1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        """Number of pairs in the queue; `size` once it is full."""
        return min(int(self.count), len(self.image))

    @torch.no_grad()
    def push(self, image: Tensor, text: Tensor, identity: Tensor) -> None:
        """Add n pairs; if more than fit, only the last. Features [n, width], `identity` int64 [n, 3]."""
        size, n = len(self.image), len(image)
        kept = min(n, size)
        places = (self.count + torch.arange(n - kept, n, device=self.count.device)) % size
        self.image[places] = image[n - kept :].to(self.image.dtype)
        self.text[places] = text[n - kept :].to(self.text.dtype)
        self.identity[places] = identity[n - kept :]
        self.count += n


def soft_contrastive(
    image: Tensor,
    text: Tensor,
    image_m: Tensor,
    text_m: Tensor,
    queue: Queue | None,
    scale: Tensor | float,
    alpha: float,
    identity: Tensor,
) -> Tensor:
    """Contrastive loss against the twin's features with soft targets (ALBEF eq. 6, as cross-entropy).

    Columns are the twin's features of this batch, then the queue's. For a picture i
        L_i = CE(s · x_i·T', α · softmax(s · x'_i·T') + (1 − α) · uniform over positives of i)
    and the same for a title; L is the mean of both directions over rows. ALBEF writes the soft part as
    KL(q ‖ p), which differs by the entropy of q, whose gradient is zero.

    `image`, `text` float [n, d], unit rows, by the model; `image_m`, `text_m` the same pairs by its twin,
    used without gradient; `identity` int64 [n, 3], compared with the batch's and the queue's. A scalar.
    """
    image_m, text_m, known = image_m.detach(), text_m.detach(), identity
    pictures, titles = image_m, text_m
    if queue is not None:
        filled = len(queue)
        pictures = torch.cat([image_m, queue.image[:filled].to(image_m.dtype)])
        titles = torch.cat([text_m, queue.text[:filled].to(text_m.dtype)])
        known = torch.cat([identity, queue.identity[:filled]])
    positive = with_own(positives(identity, known))
    forth = _towards(image, image_m, titles, positive, scale, alpha)
    back = _towards(text, text_m, pictures, positive, scale, alpha)
    return (forth + back) / 2


def _towards(
    rows: Tensor, rows_m: Tensor, columns: Tensor, positive: Tensor, scale: Tensor | float, alpha: float
) -> Tensor:
    """Cross-entropy of rows against columns; the twin's rows [n, d] give the soft part of the target."""
    logits = similarity(rows, columns, scale)
    with torch.no_grad():
        soft = similarity(rows_m, columns, scale).softmax(dim=1)
        target = alpha * soft + (1 - alpha) * uniform(positive, logits.dtype)
    return F.cross_entropy(logits, target)
