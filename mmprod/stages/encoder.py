"""Encoders as artifacts: train the small one, load the configured one, ask it without torch.

Importing this imports no torch: what only asks is answered by an engine where there is one.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from mmprod.datasets.forms import FORMS
from mmprod.datasets.images.images import BadImage, decode, read_image_path
from mmprod.datasets.text import normalise_title
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export.spec import SPEC, Tower
from mmprod.encoders.training.pace import MEASURED
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.outcome import Advance, Outcome, Watch, silent, timed
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import sha256_file

if TYPE_CHECKING:
    from mmprod.encoders import clip
    from mmprod.encoders.train import Plan

log = logging.getLogger(__name__)
ENGINE = "onnx-fp32"
"""The form of engine that may answer for torch: its gate holds it to torch's vectors, not so one of fp16."""


def load_encoder(
    lake: Lake, config: Config, fingerprint: str | None = None, candidate: str | None = None
) -> "clip.Encoder":
    """The encoder the configuration names; a ``lake:`` one is verified against its manifest first.

    `fingerprint`: of the index that is to be asked. A ``lake:`` encoder trained anew since then leaves its
    earlier generation to answer until the index follows.
    `candidate`: load this encoder of the lake in place of the configured one.
    """
    section = config.encoder
    name = lake.encoder_name(LAKE_ENCODER + candidate if candidate else section.model, fingerprint)
    if name.startswith("local-dir:"):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing of a local folder is to be asked of a hub
    from mmprod.encoders.clip import load  # seconds to import

    return load(name, section.pretrained, section.device)


def load_query_encoder(
    lake: Lake, config: Config, fingerprint: str, towers: Sequence[Tower] = ("text",)
) -> Encoder:
    """The encoder of that fingerprint for who only asks: its exported engine, else what `load_encoder` loads.

    `fingerprint`: of the index that is to be asked. Of an engine only `towers` are there. One that can't be
    used, damaged or without its library, is warned of.
    """
    engine = None
    try:
        engine = _engine(lake.engines(config.encoder.model, fingerprint, ENGINE), fingerprint, towers)
    except StateError as error:
        log.warning("torch answers instead of the engine, and takes longer to load: %s", error)
    return engine or load_encoder(lake, config, fingerprint)


def _engine(root: Path, fingerprint: str, towers: Sequence[Tower]) -> Encoder | None:
    """The current engine at `root`, every file verified; None unless it is of that encoder with `towers`."""
    if artifacts.current(root) is None:
        return None
    from mmprod.encoders.export.encoder import ExportedEncoder

    with artifacts.opened(root, checked=False) as opened:
        made, spec = opened.manifest, opened.path / SPEC
        if made.inputs["encoder"] != fingerprint or not set(towers) <= set(made.config["towers"]):
            return None
        if (found := sha256_file(spec)) != made.files[SPEC]:
            raise StateError(f"{spec} has sha256 {found}, manifest says {made.files[SPEC]}; export it again")
        return ExportedEncoder.open(opened.path, towers=towers)  # which compares the files that SPEC names


def train_encoder(lake: Lake, config: Config, path: Path, plan: "Plan", watch: Watch = silent) -> Outcome:
    """Train the tiny encoder on a product table's picture-title pairs; publish it as the configured one.

    In the precision of `finetune.precision`. Unless the current one was trained on the same table by the
    same plan in the same precision: then that is kept.
    """
    from mmprod.datasets.tables.table import open_table
    from mmprod.encoders.clip import save, wrap
    from mmprod.encoders.hardware import fitting
    from mmprod.encoders.train import load_pairs, tiny_config, train

    if not config.encoder.model.startswith(LAKE_ENCODER):
        raise InputError(
            f"encoder.model is {config.encoder.model!r}; only lake:NAME encoders are trained here"
        )
    root = lake.encoder(config.encoder.model.removeprefix(LAKE_ENCODER))
    table = open_table(path, config.table_spec)
    plan = replace(plan, precision=fitting(config.finetune.precision, "cpu"))
    inputs = {"table": table.fingerprint}
    options = {"model": tiny_config(), "plan": vars(plan), "forms": FORMS}
    with timed("train") as outcome:
        if name := artifacts.reusable(root, inputs, options):
            outcome.reused = outcome.rows = artifacts.Manifest.read(root / name).counts["pairs"]
            outcome.made[str(root)] = name
            return outcome
        pairs = load_pairs(_pairs(table.batches(), config, outcome), tiny_config())
        outcome.changed = len(pairs.titles)
        with artifacts.publishing(root, "encoder", inputs, options) as draft:
            trained = train(pairs, tiny_config(), plan, _watched(watch))
            encoder = wrap(trained.model, trained.tokenizer)
            save(encoder, draft.path)
            pace = {"steps": trained.steps, "step_seconds": round(trained.seconds, 3)}
            draft.counts |= {
                "pairs": outcome.changed,
                **pace,
                "fingerprint": encoder.fingerprint,
                "forms": FORMS,
            }
        artifacts.switch(root, draft.generation)
        outcome.made[str(root)] = draft.generation
        told = f"{trained.steps} steps of {trained.seconds:.2g} s, {trained.precision}"
        outcome.detail = {"generation": draft.generation, "fingerprint": encoder.fingerprint, "pace": told}
    return outcome


def _watched(watch: Watch) -> Callable[[int, int, float], None]:
    """Tells of the steps that are left, once it is known how many."""
    advance: Advance | None = None

    def on_step(step: int, steps: int, loss: float) -> None:
        nonlocal advance
        if advance:
            advance(1)
        elif step >= min(MEASURED, steps):
            advance = watch("train", steps - step)

    return on_step


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
