"""The gradient of a step: in one pass, in parts, or in parts with all the batch's negatives (GradCache)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmprod.encoders.hardware import DTYPES, fitting
from mmprod.encoders.training.batch import Batch
from mmprod.encoders.training.dual import Contrastive, features
from mmprod.encoders.training.objective import Objective
from mmprod.encoders.training.options import Options
from mmprod.storage.errors import InputError


class Backward:
    """Computes a batch's gradient and adds it to the gradients of the model's parameters.

    `seed` fixes dropout for every step and part, so that a resumed run, and GradCache's second pass, use the
    same masks.
    Raises: InputError for GradCache with an objective that needs more than the towers' features.
    """

    def __init__(self, model: Any, objective: Objective, options: Options, device: str, seed: int) -> None:
        self.precision = fitting(options.precision, device)
        self.model, self.objective, self.options, self.seed = model, objective, options, seed
        self.device = device.partition(":")[0]
        self._in_cached_parts = options.grad_cache and options.accum_freq > 1
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.precision == "amp")
        if options.grad_cache and not isinstance(objective, Contrastive):
            raise InputError(
                f"--grad-cache works for contrastive losses only, not {type(objective).__name__}; "
                "leave it out, --accum-freq alone works"
            )

    def __call__(self, batch: Batch, step: int) -> dict[str, float]:
        """Run the forward and backward pass; returns the losses by name, averaged over the parts."""
        with self._attention():
            if isinstance(self.objective, Contrastive) and self._in_cached_parts:
                return self._cached(self.objective, batch, step)
            return self._plain(batch, step)

    def _plain(self, batch: Batch, step: int) -> dict[str, float]:
        losses: dict[str, float] = {}
        for rows in self._parts(batch, step):
            with self._autocast():
                found = self.objective(self.model, rows, step)
            share = len(rows) / len(batch)
            self._backward(share * torch.stack(list(found.values())).sum())
            for name, loss in found.items():
                losses[name] = losses.get(name, 0.0) + share * float(loss.detach())
        return losses

    def _cached(self, objective: Contrastive, batch: Batch, step: int) -> dict[str, float]:
        """Gao et al. 2021: features without a graph, the loss's gradient at them, then backward by parts."""
        with torch.no_grad(), self._autocast():
            cached = [features(self.model, rows) for rows in self._parts(batch, step)]
        image, text = (torch.cat(side).requires_grad_() for side in zip(*cached, strict=True))
        with self._autocast():
            losses = objective.compare(self.model, image, text, batch, step)
        self._backward(torch.stack(list(losses.values())).sum())
        at = 0
        for rows in self._parts(batch, step):
            with self._autocast():
                again = features(self.model, rows)
            for part, whole in zip(again, (image, text), strict=True):
                if part.requires_grad and whole.grad is not None:  # not where the tower is frozen
                    torch.autograd.backward(part, whole.grad[at : at + len(rows)])
            at += len(rows)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _parts(self, batch: Batch, step: int) -> Iterator[Batch]:
        size = -(-len(batch) // self.options.accum_freq)
        for part, start in enumerate(range(0, len(batch), size)):
            torch.manual_seed(hash((self.seed, step, part)))
            yield batch.rows(start, start + size)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, DTYPES[self.precision], enabled=self.precision != "fp32")

    def _attention(self) -> AbstractContextManager[None]:
        """In half precision on a CPU, attention by plain matrix products.

        Up to about 200 patches or words the fused kernel's backward pass is slower there. Covers both passes,
        since gradient checkpointing recomputes the forward pass in the backward pass.
        """
        plain = self.device == "cpu" and self.precision != "fp32"
        return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()

    def _backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
