"""A lake whose changes are encoded through units."""

import io
import itertools
import shutil
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmprod.config import load
from mmprod.datasets.embeddings import units
from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.schemas import PRODUCT
from mmprod.encoders.clip import Encoder
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed import embed_changes, open_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.daily.unit_encoding import Worker, encode_left
from mmprod.stages.daily.unit_planning import plan_units
from mmprod.stages.daily.unit_taking import take_units
from mmprod.stages.encoder import load_encoder
from mmprod.stages.outcome import Outcome
from mmprod.stages.store import open_store
from mmprod.storage.shared_folder import Folder, open_folder

SHARDS = 2


def jpeg(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (24, 24), (seed * 37 % 256, seed * 91 % 256, seed * 151 % 256)).save(sink, "JPEG")
    return sink.getvalue()


class Shop:
    """A lake of its own with two shards, a folder for units, and an encoder that was loaded once."""

    def __init__(self, folder: Path, encoders: Path, encoder: Encoder, **more: Any) -> None:
        self.folder, self.encoder, self.days, self.more = folder, encoder, itertools.count(1), more
        self.lake, self.plans = Lake(folder / "lake"), itertools.count(1)
        shutil.copytree(encoders, self.lake.root / "encoders")
        self.next_plan()

    @staticmethod
    def product(number: int, look: int, title: int) -> dict[str, Any]:
        """A product; look 0 is a broken picture, 1 none; title 0 is none."""
        picture = {0: b"\xff\xd8broken", 1: None}.get(look, jpeg(look))
        return {"product_id": f"p{number}", "title": f"thing {title}" if title else None, "image": picture}

    def next_plan(self) -> None:
        self.units = self.folder / f"units{next(self.plans)}"

    @property
    def exchange(self) -> Folder:
        return open_folder(str(self.units))

    @property
    def config(self) -> Config:
        sections = {
            "lake": str(self.lake.root),
            "store.shards": self.more.get("shards", SHARDS),
            "store.max_removed_share": 1.0,
            "encoder.batch": 4,
            "encoder.commit_rows": 10,
            "encoder.part_rows": self.more.get("part_rows", 4),
            "encoder.unit_bytes": self.more.get("unit_bytes", 10**9),
        }
        return load(None, sections).config

    @property
    def table(self) -> EmbeddingTable:
        return open_embeddings(self.lake, self.config, self.encoder)

    def day(self, rows: list[dict[str, Any]]) -> None:
        """Ingest the whole catalogue of the next day."""
        path = self.folder / "day.parquet"
        pq.write_table(pa.Table.from_pylist(rows, PRODUCT), path)
        with open_store(self.lake, self.config, read_only=False) as store:
            ingest_table(self.lake, self.config, store, path, date(2025, 1, next(self.days)), True)

    def plan(self) -> Outcome:
        assert self.table  # so that the encoder need not be loaded again
        with open_store(self.lake, self.config) as store:
            return plan_units(self.lake, self.config, store, self.exchange)

    def encode(self) -> Outcome:
        return encode_left(self.worker())

    def worker(self) -> Worker:
        """A worker with an encoder that was loaded before."""
        return Worker(self.config, self.exchange, self.planned, self.encoder)

    @property
    def planned(self) -> units.Plan:
        return units.the_plan(self.exchange)

    def take(self) -> Outcome:
        with self.lake.writing(), open_store(self.lake, self.config) as store:
            return take_units(self.lake, self.config, store, self.exchange)

    def embed(self, table: EmbeddingTable | None = None) -> Outcome:
        with open_store(self.lake, self.config) as store:
            return embed_changes(self.config, store, table or self.table, self.encoder)

    def alone(self) -> pa.Table:
        """All rows of a table that a single run makes."""
        with tempfile.TemporaryDirectory() as folder, open_store(self.lake, self.config) as store:
            table = EmbeddingTable(
                Path(folder), self.encoder.fingerprint, self.encoder.width, len(store.head())
            )
            embed_changes(self.config, store, table, self.encoder)
            return rows_of(table)

    def check(self) -> None:
        """The table is the one that a single run makes, to the last bit."""
        same(rows_of(self.table), self.alone())

    @staticmethod
    def flip(path: Path, at: float = 0.5) -> None:
        """Flip a bit of a file."""
        content = bytearray(path.read_bytes())
        content[int(len(content) * at)] ^= 1
        path.write_bytes(content)

    def files(self, kind: str) -> list[Path]:
        return sorted(self.units.glob(f"*.{kind}"))


def rows_of(table: EmbeddingTable) -> pa.Table:
    """The rows of live products, by id."""
    return pa.Table.from_batches(table.batches(), table.schema).sort_by("product_id")


def same(found: pa.Table, wanted: pa.Table) -> None:
    assert found["product_id"].to_pylist() == wanted["product_id"].to_pylist()
    for name in wanted.column_names:
        assert found[name].combine_chunks().equals(wanted[name].combine_chunks()), name


@pytest.fixture(scope="module")
def encoder(_world) -> Encoder:
    return load_encoder(_world.lake, _world.config)


@pytest.fixture(scope="module")
def opened(_world, encoder: Encoder) -> Callable[..., Shop]:
    """Opens a shop in a folder."""
    return lambda folder, **more: Shop(folder, _world.lake.root / "encoders", encoder, **more)


@pytest.fixture
def shop(tmp_path: Path, opened) -> Shop:
    shop = opened(tmp_path)
    shop.day([shop.product(number, number % 7, number % 4) for number in range(13)])
    return shop
