"""Kill -9 while a candidate takes the encoder's place: days go on, and run again it is as undisturbed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmprod.config import load
from mmprod.encoders.train import Plan
from mmprod.lake import Lake
from mmprod.stages.training.train import train_encoder

Command = Callable[..., Any]
Content = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def ready(grown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world after its first day, with a candidate."""
    folder = tmp_path_factory.mktemp("ready") / "world"
    shutil.copytree(grown.folder, folder)
    config = load(folder / "mmprod.toml", {"encoder.model": "lake:shop"}).config
    table = folder / "catalogue" / "train.parquet"
    train_encoder(Lake(config.lake), config, table, Plan(steps=3, batch=64, seed=5))
    return folder


@pytest.fixture(scope="module")
def promote(forked) -> Command:
    """Lets the candidate of a world take the place."""

    def run(folder: Path, **variables: str) -> Any:
        return forked.mmprod("encoder", "promote", "shop", folder=folder, **variables)

    return run


@pytest.fixture(scope="module")
def calm(
    ready: Path,
    promote: Command,
    forked_day: Command,
    content: Content,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """What the lake holds after an undisturbed promotion and a second day."""
    folder = tmp_path_factory.mktemp("calm") / "world"
    shutil.copytree(ready, folder)
    assert promote(folder).status == 0
    assert forked_day(folder, 2).status == 0
    return content(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", ["embed.encoded:1", "embed.committed:1", "artifact.written:1", "artifact.published:1"]
)
def test_killed_and_run_again_equals_undisturbed(
    ready: Path,
    promote: Command,
    forked_day: Command,
    content: Content,
    calm: dict[str, str],
    tmp_path: Path,
    point: str,
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(ready, folder)
    assert promote(folder, MMPROD_FAULT=f"{point}:kill").status == -9, "never fired"
    assert promote(folder).status == 0
    assert forked_day(folder, 2).status == 0
    assert content(folder) == calm


@pytest.mark.slow
@pytest.mark.parametrize("point", ["embed.committed:1", "artifact.switched:1"])
def test_killed_a_day_goes_on(
    ready: Path, promote: Command, forked_day: Command, tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(ready, folder)
    assert promote(folder, MMPROD_FAULT=f"{point}:kill").status == -9, "never fired"
    assert forked_day(folder, 2).status == 0
