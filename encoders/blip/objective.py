"""BLIP's three losses: contrastive (ITC), matching (ITM) and caption (LM).

Li et al. 2022, "BLIP", section 3.2; ITC and the hard negatives of ITM are ALBEF's (Li et al. 2021).
"""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmprod.encoders.blip.network import Blip
from mmprod.encoders.losses.language import language_loss
from mmprod.encoders.losses.matching import hard_negatives, matching_loss
from mmprod.encoders.losses.momentum import Queue, ramp, soft_contrastive, update_twin
from mmprod.encoders.losses.positives import positives
from mmprod.encoders.training.batch import Batch, pixels
from mmprod.encoders.training.distributed import gather, rank, world
from mmprod.encoders.training.dual import contrastive
from mmprod.encoders.training.objective import Objective
from mmprod.encoders.training.options import Options, Task


class Weights(NamedTuple):
    """Weights of the losses; a loss of weight 0 is not computed."""

    itc: float = 1.0
    itm: float = 1.0
    lm: float = 1.0


def blip_objective(model: Blip, task: Task, options: Options) -> Objective:
    """The objective of a task. Captions: LM; retrieval: all three losses; same item: its own loss."""
    if task == "same-item":
        return contrastive(model, model.config.image_text_hidden_size, options, True)
    return BlipObjective(model, options, Weights(0, 0, 1) if task == "caption" else Weights())


class BlipObjective(Objective):
    """A weighted sum of ITC, ITM and LM.

    ITC compares features with those of a momentum twin, of all processes' batches and of a queue of earlier
    ones. ITM uses each pair and two hard negatives, a wrong title for its picture and a wrong picture for its
    title, both from this process's batch. Pairs that share an item, a picture or a title are never negatives.
    Twin and queue are in the state_dict; random draws depend only on seed, step and process.
    """

    def __init__(self, model: Blip, options: Options, weights: Weights = Weights()) -> None:  # noqa: B008
        super().__init__()
        self.options, self.weights = options, weights
        width = model.config.image_text_hidden_size
        self.twin = copy.deepcopy(model).requires_grad_(False).eval() if weights.itc else None
        self.queue = Queue(options.queue_size, width) if weights.itc and options.queue_size else None
        self._fresh: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, model: Blip, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses ``itc``, ``itm`` and ``lm``, each multiplied by its weight."""
        view = pixels(batch.pictures, model)
        states = model.image_states(view)
        losses: dict[str, Tensor] = {}
        if self.weights.itc or self.weights.itm:
            image = model.project_image(states, normalize=True).float()
            text = model.encode_text(batch.tokens, normalize=True).float()
        if self.weights.itc:
            losses["itc"] = self.weights.itc * self._contrast(model, view, image, text, batch, step)
        if self.weights.itm:
            similarity = model.logit_scale.exp() * image.detach() @ text.detach().T
            losses["itm"] = self.weights.itm * self._matching(model, states, similarity, batch, step)
        if self.weights.lm:
            logits = model.caption_logits(states, batch.tokens)
            padding = batch.tokens == model.config.text_config.pad_token_id
            smoothing = self.options.label_smoothing
            losses["lm"] = self.weights.lm * language_loss(logits, batch.tokens, padding, smoothing)
        return losses

    def after_step(self, model: Any, step: int) -> None:
        """Update the twin, and add its features of the step's pairs to the queue."""
        if self.twin is not None:
            update_twin(self.twin, model, self.options.momentum)
        for features in self._fresh:
            if self.queue is not None:
                self.queue.push(*features)
        self._fresh = []

    def _contrast(
        self, model: Blip, view: Tensor, image: Tensor, text: Tensor, batch: Batch, step: int
    ) -> Tensor:
        identity = gather(batch.identity)
        with torch.no_grad():
            image_m = gather(self.twin.encode_image(view, normalize=True).float())  # type: ignore[union-attr]
            text_m = gather(self.twin.encode_text(batch.tokens, normalize=True).float())  # type: ignore[union-attr]
        self._fresh.append((image_m, text_m, identity))
        scale, alpha = model.logit_scale.exp(), ramp(step, self.options.alpha_steps, self.options.alpha)
        return soft_contrastive(
            gather(image), gather(text), image_m, text_m, self.queue, scale, alpha, identity
        )

    def _matching(self, model: Blip, states: Tensor, similarity: Tensor, batch: Batch, step: int) -> Tensor:
        """ITM loss over the pairs and two hard negatives of each, if any exist."""
        same = positives(batch.identity, batch.identity)
        draw = self._generator(step, similarity.device)
        titles = hard_negatives(similarity, same, draw)
        pictures = hard_negatives(similarity.T, same.T, draw)
        own = torch.arange(len(batch), device=titles.device)
        rows = torch.cat([own, own[titles >= 0], pictures[pictures >= 0]])
        columns = torch.cat([own, titles[titles >= 0], own[pictures >= 0]])
        matched = torch.arange(len(rows), device=rows.device) < len(own)
        return matching_loss(model.match(states.index_select(0, rows), batch.tokens[columns]), matched)

    def _generator(self, step: int, device: torch.device) -> torch.Generator:
        """A generator determined by seed, step and process, so that a resumed run draws the same."""
        number = (self.options.seed * 1_000_003 + step) * world() + rank()
        return torch.Generator(device).manual_seed(number)
