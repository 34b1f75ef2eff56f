"""Kill -9 while a candidate takes the encoder's place: days go on, and run again it is as undisturbed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmprod.config import load
from mmprod.encoders.train import Plan
from mmprod.lake import Lake
from mmprod.stages.encoder import train_encoder

Ask = Callable[..., dict[str, Any]]
CANDIDATE = "shop"


@pytest.fixture(scope="module")
def ready(grown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world after its first day, with a candidate."""
    folder = tmp_path_factory.mktemp("ready") / "world"
    shutil.copytree(grown.folder, folder)
    config = load(folder / "mmprod.toml", {"encoder.model": f"lake:{CANDIDATE}"}).config
    table = folder / "catalogue" / "train.parquet"
    train_encoder(Lake(config.lake), config, table, Plan(steps=3, batch=64, seed=5))
    return folder


@pytest.fixture(scope="module")
def calm(ready: Path, ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the lake holds after an undisturbed promotion and a second day."""
    folder = tmp_path_factory.mktemp("calm") / "world"
    shutil.copytree(ready, folder)
    assert ask(folder=str(folder), promote=CANDIDATE)["status"] == 0
    assert ask(folder=str(folder), day=2)["status"] == 0
    content: dict[str, str] = ask(folder=str(folder), digest=True)["answer"]
    return content


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", ["embed.encoded:1", "embed.committed:1", "artifact.written:1", "artifact.published:1"]
)
def test_killed_and_run_again_equals_undisturbed(
    ready: Path, ask: Ask, calm: dict[str, str], tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(ready, folder)
    assert ask(folder=str(folder), promote=CANDIDATE, fault=f"{point}:kill")["status"] == -9, "never fired"
    assert ask(folder=str(folder), promote=CANDIDATE)["status"] == 0
    assert ask(folder=str(folder), day=2)["status"] == 0
    assert ask(folder=str(folder), digest=True)["answer"] == calm


@pytest.mark.slow
@pytest.mark.parametrize("point", ["embed.committed:1", "artifact.switched:1"])
def test_killed_a_day_goes_on(ready: Path, ask: Ask, tmp_path: Path, point: str) -> None:
    folder = tmp_path / "world"
    shutil.copytree(ready, folder)
    assert ask(folder=str(folder), promote=CANDIDATE, fault=f"{point}:kill")["status"] == -9, "never fired"
    assert ask(folder=str(folder), day=2)["status"] == 0
