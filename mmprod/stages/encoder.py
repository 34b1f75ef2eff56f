"""Encoders as artifacts: train the small one, load the configured one."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mmprod import artifacts
from mmprod.datasets.errors import InputError
from mmprod.datasets.fetch import read_image_path
from mmprod.datasets.images import BadImage, decode
from mmprod.datasets.table import open_table
from mmprod.datasets.text import normalise_title
from mmprod.encoders.clip import Encoder, load, save, wrap
from mmprod.encoders.train import Plan, load_pairs, tiny_config, train
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.outcome import Outcome, timed

log = logging.getLogger(__name__)


def load_encoder(
    lake: Lake, config: Config, fingerprint: str | None = None, candidate: str | None = None
) -> Encoder:
    """The encoder the configuration names; a ``lake:`` one is verified against its manifest first.

    `fingerprint`: of the index that is to be asked. A ``lake:`` encoder trained anew since then leaves its
    earlier generation to answer until the index follows.
    `candidate`: load this encoder of the lake in place of the configured one.
    """
    section = config.encoder
    name = lake.encoder_name(LAKE_ENCODER + candidate if candidate else section.model, fingerprint)
    if name.startswith("local-dir:"):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing of a local folder is to be asked of a hub
    return load(name, section.pretrained, section.device)


def train_encoder(
    lake: Lake, config: Config, path: Path, plan: Plan, on_step: Callable[[int, float], None] | None = None
) -> Outcome:
    """Train the tiny encoder on a product table's picture-title pairs; publish it as the configured one.

    Unless the current one was trained on the same table by the same plan: then that is kept.
    """
    if not config.encoder.model.startswith(LAKE_ENCODER):
        raise InputError(
            f"encoder.model is {config.encoder.model!r}; only lake:NAME encoders are trained here"
        )
    root = lake.encoder(config.encoder.model.removeprefix(LAKE_ENCODER))
    table = open_table(path, config.table_spec)
    inputs, options = {"table": table.fingerprint}, {"model": tiny_config(), "plan": vars(plan)}
    with timed("train") as outcome:
        if name := artifacts.reusable(root, inputs, options):
            outcome.reused = outcome.rows = artifacts.Manifest.read(root / name).counts["pairs"]
            outcome.made[str(root)] = name
            return outcome
        pairs = load_pairs(_pairs(table.batches(), config, outcome), tiny_config())
        outcome.changed = len(pairs.titles)
        with artifacts.publishing(root, "encoder", inputs, options) as draft:
            encoder = wrap(*train(pairs, tiny_config(), plan, on_step))
            save(encoder, draft.path)
            found = {"pairs": outcome.changed, "steps": plan.steps, "fingerprint": encoder.fingerprint}
            draft.counts |= found
        artifacts.switch(root, draft.generation)
        outcome.made[str(root)] = draft.generation
        outcome.detail = {"generation": draft.generation, "fingerprint": encoder.fingerprint}
    return outcome


def _pairs(batches: Iterator[object], config: Config, outcome: Outcome) -> Iterator[tuple[Image.Image, str]]:
    for batch in batches:
        for row in batch.accepted.select(["title", "image", "image_path"]).to_pylist():  # type: ignore[attr-defined]
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
    """A training row's picture: its bytes, or the file at its path. Addresses are not fetched."""
    if row["image_path"] and row["image"] is None:
        return read_image_path(row["image_path"], config.images.root)
    return row["image"] or b""
