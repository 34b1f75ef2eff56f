"""A small lake whose configured encoder has imported vectors only; nothing is encoded, so it is quick."""

import io
import shutil
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmprod.config import Config, load
from mmprod.datasets.embeddings.rows import Row
from mmprod.datasets.embeddings.vector_files import VectorFile
from mmprod.datasets.schemas import PRODUCT
from mmprod.lake import Lake
from mmprod.stages.daily.embed import bring_up, read_embeddings
from mmprod.stages.daily.import_vectors import import_vectors
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.outcome import Outcome
from mmprod.stages.store import open_store

WIDTH, IDS = 16, [f"p{number:02d}" for number in range(30)]
SETTINGS = """
lake = "lake"
[encoder]
model = "import:other"
commit_rows = 8
[index]
max_similarity = 1.0
"""


def jpeg(number: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), (8 * number, 255 - 8 * number, 90)).save(sink, "JPEG")
    return sink.getvalue()


class Shop(NamedTuple):
    """A lake with products, whose configured encoder has imported vectors only."""

    folder: Path

    @property
    def config(self) -> Config:
        return load(self.folder / "mmprod.toml").config

    @property
    def lake(self) -> Lake:
        return Lake(self.config.lake)

    @staticmethod
    def product(name: str, picture: int | None = None, title: str | None = None) -> dict[str, Any]:
        number = int(name[1:])
        return {
            "product_id": name,
            "image": jpeg(number if picture is None else picture),
            "title": title or f"thing {number}",
            "category": ["Toys" if number % 2 else "Home"],
        }

    def day(self, number: int, products: list[dict[str, Any]]) -> Path:
        path = self.folder / f"day{number}.parquet"
        pq.write_table(pa.Table.from_pylist(products, PRODUCT), path)
        with open_store(self.lake, self.config, read_only=False) as store:
            ingest_table(self.lake, self.config, store, path, date(2025, 1, number), approve_removals=True)
        return path

    def take(self, file: VectorFile | Path, **options: Any) -> Outcome:
        file = file if isinstance(file, VectorFile) else VectorFile(file)
        with open_store(self.lake, self.config) as store:
            return import_vectors(self.lake, self.config, store, file, **options)

    def embed(self) -> Outcome:
        with open_store(self.lake, self.config) as store:
            return bring_up(self.lake, self.config, store)

    def rows(self) -> dict[str, Row]:
        return read_embeddings(self.lake, self.config).lookup(IDS)

    def parquet(self, name: str = "v.parquet", **columns: Any) -> Path:
        pq.write_table(pa.table(columns), self.folder / name, write_page_checksum=True)
        return self.folder / name


@pytest.fixture(scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("import") / "shop")
    shop.folder.mkdir()
    (shop.folder / "mmprod.toml").write_text(SETTINGS)
    shop.day(1, [Shop.product(name) for name in IDS])
    return shop


@pytest.fixture
def shop(_shop: Shop, tmp_path: Path) -> Shop:
    shutil.copytree(_shop.folder, tmp_path / "shop")
    return Shop(tmp_path / "shop")
