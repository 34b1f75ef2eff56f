"""Fine-tuning options: the ``[finetune]`` section and the options of ``mmprod finetune``.

Names are those of open_clip's flags where the meaning is the same (``--batch-size``, ``--wd``,
``--lock-image`` …). Imports no torch, since the command line reads this module.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["retrieval", "same-item", "caption"]
Share = Annotated[float, Field(ge=0, le=1)]


class Options(BaseModel):
    """All settings of a training run; the same options, data and base give the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: Literal["auto", "clip", "siglip", "soft"] = Field(
        default="auto",
        description="clip: InfoNCE; siglip: pairwise sigmoid; soft: EMA soft labels with a queue (ALBEF); "
        "auto: siglip for a base with a logit bias, else clip.",
    )
    epochs: float = Field(default=5, gt=0, description="Passes over the training pairs.")
    steps: int | None = Field(default=None, ge=1, description="Stop after so many steps, instead of epochs.")
    batch_size: int = Field(default=256, ge=2, description="Pairs a step and process.")
    accum_freq: int = Field(
        default=1, ge=1, description="Forward passes a step: the batch is processed in so many parts."
    )
    grad_cache: bool = Field(
        default=False,
        description="With --accum-freq: negatives come from the whole batch, at the price of a second "
        "forward pass (GradCache).",
    )
    lr: float = Field(default=5e-5, gt=0, le=1, description="Peak learning rate.")
    wd: float = Field(default=0.1, ge=0, description="Weight decay (of matrices only).")
    beta1: Share = Field(default=0.9, description="AdamW's first moment.")
    beta2: Share = Field(default=0.98, description="AdamW's second moment.")
    eps: float = Field(default=1e-6, gt=0, description="AdamW's epsilon.")
    warmup: int = Field(
        default=100, ge=0, description="Steps of linear warm-up; then the rate falls as a cosine to 0."
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="Factor of the learning rate for each layer from the output."
    )
    grad_clip_norm: float | None = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    precision: Literal["auto", "fp32", "amp_bf16", "amp"] = Field(
        default="auto",
        description="auto: the fastest on this machine, measured; amp_bf16: mostly bfloat16; "
        "amp: float16 with a gradient scaler.",
    )
    grad_checkpointing: bool = Field(
        default=False, description="Recompute activations: less memory, a third slower."
    )
    lock_image: bool = Field(default=False, description="Freeze the image tower.")
    lock_image_unlocked_groups: int = Field(
        default=0, ge=0, description="With --lock-image: train its last so many layers all the same."
    )
    lock_text: bool = Field(default=False, description="Freeze the text tower.")
    lock_text_unlocked_layers: int = Field(
        default=0, ge=0, description="With --lock-text: train its last so many layers all the same."
    )
    lora_rank: int = Field(
        default=0, ge=0, description="Train LoRA matrices of this rank instead of the weights; 0: off."
    )
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="Publish the moving average of the weights; 0: off."
    )
    momentum: float = Field(
        default=0.995, ge=0, lt=1, description="soft, BLIP: momentum of the moving average (the twin)."
    )
    alpha: Share = Field(
        default=0.4, description="soft, BLIP: share of the twin's soft labels in the target."
    )
    alpha_steps: int = Field(
        default=500, ge=0, description="soft, BLIP: steps over which alpha rises from 0."
    )
    queue_size: int = Field(default=4096, ge=0, description="soft, BLIP: pairs kept as further negatives.")
    label_smoothing: Share = Field(
        default=0.1, description="caption, BLIP: label smoothing of the next-token target."
    )
    same_item_weights: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 1.0), description="same-item: weights of image-image, text-text and image-text."
    )
    per_item: int = Field(
        default=2, ge=2, description="same-item: listings of one item that a batch holds together."
    )
    crop_scale: Share = Field(
        default=0.8, gt=0, description="Least share of a picture's area that a random crop keeps."
    )
    flip: Share = Field(default=0.5, description="Share of pictures mirrored.")
    workers: int = Field(
        default=0, ge=0, description="Processes that read pictures; 0: the training process itself."
    )
    cache_mib: int = Field(default=512, ge=0, description="Memory for decoded pictures, per reading process.")
    eval_steps: int = Field(default=200, ge=1, description="Measure on held-out pairs every so many steps.")
    eval_pairs: int = Field(default=2000, ge=2, description="At most so many held-out pairs are measured.")
    checkpoint_steps: int = Field(default=200, ge=1, description="Write a checkpoint every so many steps.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept.")
    metric: str = Field(default="auto", description="The held-out measure that selects the best model.")
    seed: int = Field(default=0, ge=0, description="Random seed.")

    def total_steps(self, pairs: int, world: int) -> int:
        """Number of optimiser steps for `pairs` training pairs and `world` processes."""
        return self.steps or max(1, round(self.epochs * pairs / (self.batch_size * world)))
