"""Contrastive objectives for models with two towers: text-image retrieval, and recall of the same item."""

import copy
from typing import Any

import torch
from torch import Tensor

from mmprod.encoders.losses.contrastive import info_nce, siglip
from mmprod.encoders.losses.momentum import Queue, ramp, soft_contrastive, update_twin
from mmprod.encoders.losses.positives import positives
from mmprod.encoders.losses.same_item import same_item_loss
from mmprod.encoders.towers import encode_text
from mmprod.encoders.training.batch import Batch, pixels
from mmprod.encoders.training.distributed import gather
from mmprod.encoders.training.objective import Objective
from mmprod.encoders.training.options import Options

Features = tuple[Tensor, Tensor]


def features(model: Any, batch: Batch) -> Features:
    """Features of pictures and of titles: float32 [n, d] each, unit rows."""
    image = model.encode_image(pixels(batch.pictures, model), normalize=True)
    text = encode_text(model, batch.tokens, normalize=True)
    return image.float(), text.float()


class Contrastive(Objective):
    """An objective that depends on a batch only through its features, as GradCache requires.

    `compare` gathers the features of all processes. Listings of one item, equal pictures and equal titles are
    never negatives of each other.
    """

    def forward(self, model: Any, batch: Batch, step: int) -> dict[str, Tensor]:
        image, text = features(model, batch)
        return self.compare(model, image, text, batch, step)

    def compare(self, model: Any, image: Tensor, text: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses by name, from this process's features [n, d]."""
        raise NotImplementedError


class InfoNCE(Contrastive):
    """CLIP's symmetric loss."""

    def compare(self, model: Any, image: Tensor, text: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        identity = gather(batch.identity)
        same = positives(identity, identity)
        return {"contrastive": info_nce(gather(image), gather(text), model.logit_scale.exp(), same)}


class Sigmoid(Contrastive):
    """SigLIP's pairwise loss; requires a base with a logit bias."""

    def compare(self, model: Any, image: Tensor, text: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        identity = gather(batch.identity)
        same = positives(identity, identity)
        scale, bias = model.logit_scale.exp(), model.logit_bias
        return {"contrastive": siglip(gather(image), gather(text), scale, bias, same)}


class SameItem(Contrastive):
    """Listings of one item attract each other: picture to picture, title to title, and across."""

    def __init__(self, weights: tuple[float, float, float]) -> None:
        super().__init__()
        self.weights = weights

    def compare(self, model: Any, image: Tensor, text: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        identity = gather(batch.identity)
        same = positives(identity, identity)
        scale = model.logit_scale.exp()
        return {"same_item": same_item_loss(gather(image), gather(text), same, scale, self.weights)}


class SoftContrastive(Contrastive):
    """EMA soft labels (momentum distillation, Li et al. 2021, ALBEF).

    Features are compared with those of a momentum twin, of this batch and of earlier ones; a share alpha of
    the target is the twin's own similarity distribution.
    """

    def __init__(self, model: Any, width: int, options: Options) -> None:
        super().__init__()
        self.twin = copy.deepcopy(model).requires_grad_(False).eval()  # no gradient, no dropout
        self.queue = Queue(options.queue_size, width) if options.queue_size else None
        self.options = options
        self._fresh: list[tuple[Tensor, Tensor, Tensor]] = []

    def compare(self, model: Any, image: Tensor, text: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            image_m, text_m = (gather(f) for f in features(self.twin, batch))
        identity = gather(batch.identity)
        alpha = ramp(step, self.options.alpha_steps, self.options.alpha)
        self._fresh.append((image_m, text_m, identity))
        loss = soft_contrastive(
            gather(image), gather(text), image_m, text_m, self.queue, model.logit_scale.exp(), alpha, identity
        )
        return {"contrastive": loss}

    def after_step(self, model: Any, step: int) -> None:
        update_twin(self.twin, model, self.options.momentum)
        for seen in self._fresh:
            if self.queue is not None:
                self.queue.push(*seen)
        self._fresh = []


def contrastive(model: Any, width: int, options: Options, same_item: bool = False) -> Contrastive:
    """The objective that the options select, for a model with vectors of dimension `width`."""
    if same_item:
        return SameItem(options.same_item_weights)
    if options.loss == "soft":
        return SoftContrastive(model, width, options)
    has_bias = getattr(model, "logit_bias", None) is not None
    if options.loss == "siglip" or (options.loss == "auto" and has_bias):
        return Sigmoid()
    return InfoNCE()
