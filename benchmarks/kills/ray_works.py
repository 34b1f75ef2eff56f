"""What a Ray cluster has to do while something is killed, and what must have come of it."""

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from datetime import date
from pathlib import Path
from typing import Any

from mmprod.airflow.demo import days, make
from mmprod.config import load
from mmprod.lake import Lake
from mmprod.stages.daily.embed import embed_changes, open_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.encoder import load_encoder
from mmprod.stages.store import open_store
from mmprod.storage import artifacts

MMPROD = Path(sys.executable).with_name("mmprod")
CONFIG = """
[store]
shards = 1
[encoder]
batch = 4
part_rows = 32
[finetune]
batch_size = 16
epochs = 1
checkpoint_steps = 2
[ray]
address = "{address}"
command = "{command}"
"""


class Scene:
    """A lake with one day in its store, nothing encoded and an encoder to begin with; trials get copies."""

    def __init__(self, folder: Path, address: str, products: int) -> None:
        self.folder = folder
        make(folder, MMPROD, products)
        self.file = folder / "mmprod.toml"
        self.file.write_text(CONFIG.format(address=address, command=MMPROD))
        config = self.config(folder / "lake")
        with open_store(Lake(config.lake), config, read_only=False) as store:
            table = folder / "catalogue" / "day1.parquet"
            ingest_table(Lake(config.lake), config, store, table, date.fromisoformat(days(folder)[0]))
        self.encoder = load_encoder(Lake(config.lake), config)

    def config(self, lake: Path) -> Any:
        return load(self.file, {"lake": str(lake)}).config

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.folder / "lake", self.folder / name))


class Work(ABC):
    """A command that runs as a Ray job. A piece of its work after the other is safe from kills."""

    words: tuple[str, ...]

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def submit(self, lake: Path, attempt: int = 1) -> subprocess.Popen[bytes]:
        """`mmprod` with the words, which submits the job and follows it."""
        line = [str(MMPROD), *self.words, "--config", str(self.scene.file), "--lake", str(lake)]
        settings = {"MMPROD_ENGINE": "ray", "MMPROD_RUN": f"kills/{lake.name}:{attempt}"}
        with (lake / "submitted.log").open("ab") as log:
            return subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, **settings})

    @abstractmethod
    def safe(self, lake: Path) -> int:
        """How many pieces are safe by now."""

    @abstractmethod
    def result(self, lake: Path) -> tuple[Any, list[str]]:
        """What came of it, equal to the undisturbed result, and what is wrong with how it lies there."""


class Shard(Work):
    """A shard's products encoded into parts, which the embedding table then takes in: rows, bit by bit."""

    words = ("embed", "--shard", "0")

    def safe(self, lake: Path) -> int:
        return len(list(lake.glob("embeddings/*/parts/[0-9]*")))

    def result(self, lake: Path) -> tuple[Any, list[str]]:
        config = self.scene.config(lake)
        with open_store(Lake(lake), config) as store:
            embeddings = open_embeddings(Lake(lake), config, self.scene.encoder)
            outcome = embed_changes(config, store, embeddings, self.scene.encoder)
        rows = embeddings.dataset.to_table().sort_by("product_id")
        left = [path.name for path in (embeddings.root / "parts").iterdir()]
        ids = rows["product_id"].to_pylist()
        wrong = [f"left: {left}"] if left else []
        wrong += [f"{outcome.rows} products were not in any part"] if outcome.rows else []
        wrong += [f"{len(ids) - len(set(ids))} rows doubled"] if len(ids) > len(set(ids)) else []
        return rows, wrong + embeddings.verify()


class Finetuning(Work):
    """An encoder fine-tuned from checkpoint to checkpoint: its files and figures, not its dated card."""

    words = ("finetune", "--name", "shop")

    def safe(self, lake: Path) -> int:
        seals = lake.glob("training/shop/*/step-*.json")
        every = self.scene.config(lake).finetune.checkpoint_steps
        return max((int(seal.stem.removeprefix("step-")) // every for seal in seals), default=0)

    def result(self, lake: Path) -> tuple[Any, list[str]]:
        root = Lake(lake).encoder("shop")
        names = sorted(path.name for path in root.iterdir())
        wrong = [] if names == ["CURRENT", "g000001"] else [f"in encoders/shop: {names}"]
        manifest = artifacts.Manifest.read(root / (artifacts.current(root) or ""))
        files = {name: digest for name, digest in manifest.files.items() if name != "README.md"}
        return (files, manifest.counts, manifest.inputs), wrong


WORKS = {"shard": Shard, "finetune": Finetuning}
