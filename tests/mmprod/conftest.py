"""A small rendered catalogue and a lake with a briefly trained encoder, made once for all tests here."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mmprod.config import Config, load
from mmprod.demo.catalogue import render_catalogue
from mmprod.encoders.train import Plan
from mmprod.lake import Lake
from mmprod.stages.daily.run import run_day
from mmprod.stages.outcome import Outcome
from mmprod.stages.training.train import train_encoder

# Small batches, so that there are several of everything; the encoder is too young for the gate's taste.
SETTINGS = """
lake = "lake"
[store]
batch_rows = 40
[encoder]
batch = 4
commit_rows = 4
[index]
max_similarity = 1.0
[review]
level = 1
anchors_per_category = 4
"""


@dataclass(frozen=True)
class World:
    """A folder with day tables, a configuration and a lake that knows an encoder but no product yet."""

    folder: Path

    @property
    def config(self) -> Config:
        return load(self.folder / "mmprod.toml").config

    @property
    def lake(self) -> Lake:
        return Lake(self.config.lake)

    @property
    def days(self) -> list[tuple[Path, date]]:
        planted = json.loads((self.folder / "catalogue" / "planted.json").read_text())
        return [(self.folder / "catalogue" / d["file"], date.fromisoformat(d["day"])) for d in planted]

    def run(self, *numbers: int) -> list[list[Outcome]]:
        """Run days by number, from 1."""
        chosen = [self.days[number - 1] for number in numbers]
        return [run_day(self.lake, self.config, table, day) for table, day in chosen]


@pytest.fixture(scope="session")
def ray(missing) -> None:
    """For tests that need Ray."""
    if importlib.util.find_spec("ray") is None:
        missing("Ray", 'pip install -e ".[ray]"')


@pytest.fixture(scope="session")
def _world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    render_catalogue(folder / "catalogue", items=60, workers=1)
    (folder / "mmprod.toml").write_text(SETTINGS)
    world = World(folder)
    train_encoder(world.lake, world.config, folder / "catalogue" / "train.parquet", Plan(steps=8, batch=64))
    return world


@pytest.fixture
def world(_world: World, tmp_path: Path) -> World:
    """A world of the test's own."""
    shutil.copytree(_world.folder, tmp_path / "world")
    return World(tmp_path / "world")


@pytest.fixture(scope="module")
def grown(_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world after its first day, shared by the tests of a module: to be read, not written."""
    folder = tmp_path_factory.mktemp("grown") / "world"
    shutil.copytree(_world.folder, folder)
    world = World(folder)
    world.run(1)
    return world


@pytest.fixture(scope="module")
def forked_day(forked) -> Callable[..., Any]:
    """Runs a day of the world in a folder, by number, as a process of its own; see `tests/conftest.py`."""

    def run(folder: Path, number: int, **variables: str) -> Any:
        table, day = World(folder).days[number - 1]
        words = ("run", "--day", day.isoformat(), "--table", str(table))
        return forked.mmprod(*words, folder=folder, **variables)

    return run


@pytest.fixture(scope="module")
def content(forked) -> Callable[[Path], dict[str, str]]:
    """What the lake of a folder holds, see `benchmarks/kills/content.py`."""
    code = (
        "import json, pathlib, kills.content as c; print(json.dumps(c.content(pathlib.Path('mmprod.toml'))))"
    )

    def look(folder: Path) -> dict[str, str]:
        found: dict[str, str] = json.loads(forked.python(code, folder).out)
        return found

    return look
