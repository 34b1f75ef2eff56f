"""The precision that training computes in is chosen by trying, kept with what it made, and part of a run."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mmprod.encoders.hardware import speeds
from mmprod.encoders.train import LEAST, Plan, load_pairs, tiny_config, train
from mmprod.stages.training.train import train_encoder
from mmprod.storage import artifacts

PLAN = Plan(steps=2, batch=16)
PLAIN = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "MMPROD_FINETUNE__PRECISION": "amp_bf16",
}


def trained(world, precision: str) -> tuple[str, artifacts.Manifest, int]:
    """The generation that training in a precision makes or finds, its manifest, and the rows reused."""
    options = world.config.finetune.model_copy(update={"precision": precision})
    config = world.config.model_copy(update={"finetune": options})
    table = world.folder / "catalogue" / "train.parquet"
    outcome = train_encoder(world.lake, config, table, replace(PLAN, seed=9))
    root = world.lake.encoder("tiny")
    name = outcome.made[str(root)]
    return name, artifacts.Manifest.read(root / name), outcome.reused


def test_another_precision_is_another_run(world) -> None:
    chosen = speeds("cpu").best
    other = "fp32" if chosen != "fp32" else "amp"
    first, manifest, reused = trained(world, "auto")
    assert manifest.config["plan"]["precision"] == chosen
    assert not reused
    assert trained(world, "auto")[0] == trained(world, chosen)[0] == first
    second, manifest, reused = trained(world, other)
    assert (manifest.config["plan"]["precision"], reused) == (other, 0)
    assert second != first


@pytest.mark.slow
def test_on_a_plain_processor_half_precision_is_warned_of_with_both_figures(world) -> None:
    table = world.folder / "catalogue" / "train.parquet"
    line = [str(Path(sys.executable).with_name("mmprod")), "train", "--table", str(table), "--steps", "1"]
    line += ["--batch-size", "8"]
    environment = {**os.environ, **PLAIN}
    done = subprocess.run(line, cwd=world.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "amp_bf16 is 0." in done.stderr
    assert "times as fast as fp32 here (product" in done.stderr


def test_without_a_number_of_steps_they_are_planned_by_the_pace(world) -> None:
    pairs = load_pairs(
        [(picture, f"mug {number}") for number, picture in enumerate(_pictures(9))], tiny_config()
    )
    told: list[tuple[int, int]] = []
    made = train(
        pairs, tiny_config(), Plan(seconds=0.001, batch=8), lambda step, steps, _: told.append((step, steps))
    )
    assert made.steps == LEAST == len(told)
    assert told[-1] == (LEAST, LEAST)
    assert told[0][1] > LEAST
    assert 0 < made.seconds < 5


def _pictures(count: int):
    from PIL import Image

    return [Image.new("RGB", (80, 80), (25 * number, 90, 200 - 20 * number)) for number in range(count)]
