"""A small rendered catalogue, its encoder, indexes and release; and the real server, where there is one."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmprod.config import Config, load
from mmprod.datasets.store.store import Store
from mmprod.demo.catalogue import render_catalogue
from mmprod.encoders.train import Plan
from mmprod.lake import Lake
from mmprod.serving.client import Client
from mmprod.serving.release import Release
from mmprod.serving.service import Service
from mmprod.serving.types import Product
from mmprod.stages.daily.run import run_day
from mmprod.stages.online.release import current_release, make_release
from mmprod.stages.online.server import Server, start, stop
from mmprod.stages.training.export import export_engine
from mmprod.stages.training.train import train_encoder

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-triton"
SETTINGS = f"""
lake = "lake"
[index]
max_similarity = 1.0
[serving]
threads = 1
probe_seconds = 1
environment = {json.dumps(str(ENVIRONMENT))}
[serving.thresholds]
same_item = {{ all = 0.8, "Home > Lighting" = 0.6 }}
"""


@dataclass(frozen=True)
class World:
    """A folder with a configuration and a lake whose release is made."""

    folder: Path

    @property
    def config(self) -> Config:
        return load(self.folder / "mmprod.toml").config

    @property
    def lake(self) -> Lake:
        return Lake(self.config.lake)

    @property
    def release(self) -> Release:
        return current_release(self.lake)

    @property
    def store(self) -> Store:
        return Store.open(self.lake.store, read_only=True)

    def both(self) -> list[str]:
        """Products that have a picture and a title."""
        items = pq.read_table(self.release.index("same_item") / "items.parquet").to_pylist()
        return [item["product_id"] for item in items if item["has_image"] and item["has_text"]]

    def content(self, product_id: str) -> Product:
        """A product as somebody would upload it."""
        with self.store as store:
            record = store.get(product_id)
            assert record is not None
            return Product(title=record.title, picture=store.picture(record.image_hash) or b"")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """To be read, not written."""
    folder = tmp_path_factory.mktemp("served")
    render_catalogue(folder / "catalogue", items=60, workers=1)
    (folder / "mmprod.toml").write_text(SETTINGS)
    made = World(folder)
    train_encoder(made.lake, made.config, folder / "catalogue" / "train.parquet", Plan(steps=40, batch=64))
    day = json.loads((folder / "catalogue" / "planted.json").read_text())[0]
    run_day(made.lake, made.config, folder / "catalogue" / day["file"], date.fromisoformat(day["day"]))
    export_engine(made.lake, made.config, "onnx", "fp32", ("image", "text"))
    assert make_release(made.lake, made.config).changed == 3
    return made


@pytest.fixture
def own(world: World, tmp_path: Path) -> World:
    """A world to be written."""
    shutil.copytree(world.folder, tmp_path / "own", symlinks=True, ignore=shutil.ignore_patterns("server"))
    return World(tmp_path / "own")


@pytest.fixture(scope="session")
def service(world: World) -> Service:
    """The release, in this process."""
    return Service.open(world.release, threads=1)


@pytest.fixture(scope="session")
def environment(missing) -> Path:
    """The server's environment."""
    if not (ENVIRONMENT / ".installed").is_file():
        missing(".venv-triton", "make triton")
    return ENVIRONMENT


@dataclass(frozen=True)
class Started:
    """A server, and the configuration that it was started by."""

    server: Server
    config: Config


@pytest.fixture(scope="module")
def started(world: World, environment: Path, free_port: Callable[[], int]) -> Iterator[Started]:
    """The real server on the world's release."""
    config = load(world.folder / "mmprod.toml", {"serving.port": free_port()}).config
    server = start(world.lake, config, world.release)
    try:
        yield Started(server, config)
    finally:
        stop(world.lake)


@pytest.fixture(scope="module")
def client(started: Started) -> Iterator[Client]:
    """A client of it."""
    with Client(started.server.address) as asking:
        yield asking
