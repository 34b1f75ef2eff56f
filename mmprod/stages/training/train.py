"""Training of the small encoder on a product table's pictures and titles."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from mmprod.datasets.forms import FORMS
from mmprod.datasets.images.images import BadImage, decode, read_image_path
from mmprod.datasets.tables.table import TableBatch, open_table
from mmprod.datasets.text import normalise_title
from mmprod.encoders.clip import save, wrap
from mmprod.encoders.hardware import fitting
from mmprod.encoders.train import Plan, load_pairs, tiny_config, train
from mmprod.encoders.training.pace import MEASURED
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.stages.publish import reuse_or_publish
from mmprod.storage.errors import InputError


def train_encoder(
    lake: Lake, config: Config, path: Path, plan: Plan, progress: Progress = no_progress
) -> Outcome:
    """Train the tiny encoder on a product table's picture-title pairs; publish it as the configured one.

    The precision is `finetune.precision`. If the current encoder was trained on the same table with the same
    plan and precision, it is kept.
    """
    if not config.encoder.model.startswith(LAKE_ENCODER):
        raise InputError(
            f"encoder.model is {config.encoder.model!r}; only lake:NAME encoders are trained here"
        )
    root = lake.encoder(config.encoder.model.removeprefix(LAKE_ENCODER))
    table = open_table(path, config.table_spec)
    plan = replace(plan, precision=fitting(config.finetune.precision, "cpu"))
    inputs = {"table": table.fingerprint}
    options = {"model": tiny_config(), "plan": vars(plan), "forms": FORMS}
    with timed("train") as outcome, reuse_or_publish(outcome, root, "encoder", inputs, options) as draft:
        if draft.reused:
            outcome.rows = draft.counts["pairs"]
        else:
            pairs = load_pairs(_pairs(table.batches(), config, outcome), tiny_config())
            trained = train(pairs, tiny_config(), plan, _steps_shown(progress))
            encoder = wrap(trained.model, trained.tokenizer)
            save(encoder, draft.path)
            outcome.changed = len(pairs.titles)
            pace = {"steps": trained.steps, "step_seconds": round(trained.seconds, 3)}
            made = {"fingerprint": encoder.fingerprint, "forms": FORMS}
            draft.counts |= {"pairs": outcome.changed, **pace, **made}
            told = f"{trained.steps} steps of {trained.seconds:.2g} s, {trained.precision}"
            outcome.detail = {"pace": told}
    return outcome


def _steps_shown(progress: Progress) -> Callable[[int, int, float], None]:
    """A callback that shows progress once the number of steps is known."""
    advance: Advance | None = None

    def on_step(step: int, steps: int, loss: float) -> None:
        nonlocal advance
        if advance:
            advance(1)
        elif step >= min(MEASURED, steps):
            advance = progress("train", steps - step)

    return on_step


def _pairs(
    batches: Iterator[TableBatch], config: Config, outcome: Outcome
) -> Iterator[tuple[Image.Image, str]]:
    for batch in batches:
        for row in batch.accepted.select(["title", "image", "image_path"]).to_pylist():
            outcome.rows += 1
            title = normalise_title(row["title"])
            try:
                picture = decode(_picture(row, config), config.images.max_pixels)
            except BadImage:
                outcome.refused += 1
                continue
            if title:
                yield picture, title
            else:
                outcome.refused += 1


def _picture(row: dict[str, Any], config: Config) -> bytes:
    """A training row's picture: its bytes, or the file at its path. URLs are not fetched."""
    if row["image_path"] and row["image"] is None:
        return read_image_path(row["image_path"], config.images.root)
    return row["image"] or b""
