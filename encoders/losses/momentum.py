"""A slowly moving twin of the model, the queue of its features, and the soft targets both give.

Li et al. 2021, "Align before Fuse" (ALBEF), sections 3.2 and 3.3; BLIP (Li et al. 2022) keeps them.
"""

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor, nn

from mmprod.encoders.losses.positives import positives, similarity, uniform, with_own


@torch.no_grad()
def update_twin(twin: nn.Module, model: nn.Module, momentum: float) -> None:
    """Move every parameter of `twin` towards `model`: θ' ← m θ' + (1 − m) θ.

    Running statistics move alike, for those of the model don't fit the twin's weights; other buffers are
    copied.

    `twin` is a copy of `model`. Raises ValueError where they differ in their number of parameters.
    """
    for slow, fast in zip(twin.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
    for (name, kept), current in zip(twin.named_buffers(), model.buffers(), strict=True):
        if name.endswith(("running_mean", "running_var")):
            kept.lerp_(current, 1 - momentum)
        else:
            kept.copy_(current)


def ramp(step: int, steps: int, value: float) -> float:
    """`value` reached linearly from 0 over `steps` steps: ALBEF's α in the first epoch."""
    return value * min(1.0, step / steps) if steps else value


class Queue(nn.Module):
    """The twin's features of the last `size` pairs, the oldest overwritten first (a ring).

    `image` and `text` fp32 [size, width], unit rows; `identity` int64 [size, 3]; `count` the pairs ever
    pushed. All are buffers, so that a checkpoint resumes with them.
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
        """Pairs in the queue: `size` once it has filled."""
        return min(int(self.count), len(self.image))

    @torch.no_grad()
    def push(self, image: Tensor, text: Tensor, identity: Tensor) -> None:
        """Put n pairs in; of more than fit, the last stay. Features [n, width], `identity` int64 [n, 3]."""
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
    """Image-text contrast against the twin's features with soft targets (ALBEF eq. 6, as cross-entropy).

    Columns are the twin's features of this batch, then the queue's. For a picture i
        L_i = CE(s · x_i·T', α · softmax(s · x'_i·T') + (1 − α) · uniform over positives of i)
    and the same for a title; L is the mean of both directions over rows. ALBEF writes KL(q ‖ p) for the
    soft part: that is less the entropy of q, which has no gradient.

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
    """CE of rows against columns; the twin's rows [n, d] give the soft part of the target."""
    logits = similarity(rows, columns, scale)
    with torch.no_grad():
        soft = similarity(rows_m, columns, scale).softmax(dim=1)
        target = alpha * soft + (1 - alpha) * uniform(positive, logits.dtype)
    return F.cross_entropy(logits, target)
