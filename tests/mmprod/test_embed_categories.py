"""An encoder's table restricted to categories, against one of a store that only ever had their products."""

import io
import itertools
import logging
import shutil
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmprod.config import load
from mmprod.datasets.embeddings import table
from mmprod.datasets.embeddings.scope import follow
from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.schemas import PRODUCT
from mmprod.datasets.vectors import from_column
from mmprod.encoders.clip import Encoder
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed import embed_changes, embed_shard, open_embeddings
from mmprod.stages.daily.index import build_indexes
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.encoder import load_encoder
from mmprod.stages.open_index import open_index
from mmprod.stages.outcome import Outcome
from mmprod.stages.status import lake_status, verify_lake
from mmprod.stages.store import open_store
from mmprod.storage import checked_json
from mmprod.storage.errors import InputError, StateError

HOME, LAMPS, TOYS = "Home", "Home > Lamps", "Toys"
PATHS = (["Home", "Lamps"], ["Home", "Chairs"], ["Homeware"], ["Toys"], None)
SHARDS = 2


def jpeg(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (24, 24), (seed * 37 % 256, seed * 91 % 256, seed * 151 % 256)).save(sink, "JPEG")
    return sink.getvalue()


def product(name: str, path: list[str] | None, look: int = 0, **more: Any) -> dict[str, Any]:
    return {"product_id": name, "title": f"thing {look}", "image": jpeg(look), "category": path, **more}


class Shop:
    """A lake of its own with two shards, and an encoder that was loaded once."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.folder, self.encoder, self.days, self.categories = folder, encoder, itertools.count(1), ()
        self.lake = Lake(folder / "lake")

    @property
    def config(self) -> Config:
        sections = {
            "lake": str(self.lake.root),
            "store.shards": SHARDS,
            "encoder.batch": 4,
            "encoder.commit_rows": 4,
            "encoder.categories": self.categories,
            "index.max_similarity": 1.0,
        }
        return load(None, sections).config

    @property
    def table(self) -> EmbeddingTable:
        return open_embeddings(self.lake, self.config, self.encoder)

    def day(self, rows: list[dict[str, Any]]) -> None:
        """Ingest the whole catalogue of the next day; a day without a product is not delivered."""
        number, path = next(self.days), self.folder / "day.parquet"
        if rows:
            pq.write_table(pa.Table.from_pylist(rows, PRODUCT), path)
            with open_store(self.lake, self.config, read_only=False) as store:
                ingest_table(self.lake, self.config, store, path, date(2025, 1, number), True)

    def embed(self, *categories: str, shards: bool = False, retry_failed: bool = False) -> Outcome:
        self.categories = categories
        with open_store(self.lake, self.config) as store:
            if shards:
                follow(self.categories, store, table := self.table)
                for shard in range(SHARDS):
                    embed_shard(self.config, store, table, self.encoder, shard)
            return embed_changes(self.config, store, self.table, self.encoder, retry_failed=retry_failed)

    def live(self) -> pa.Table:
        table = self.table
        return pa.Table.from_batches(table.batches(), table.schema).sort_by("product_id")

    def ids(self) -> list[str]:
        return self.live()["product_id"].to_pylist()


@pytest.fixture(scope="module")
def encoder(_world) -> Encoder:
    return load_encoder(_world.lake, _world.config)


@pytest.fixture
def shop(tmp_path: Path, encoder: Encoder) -> Shop:
    return Shop(tmp_path, encoder)


def alike(found: pa.Table, wanted: pa.Table) -> None:
    names = ["product_id", "image_hash", "text_hash", "image_reason", "live"]
    assert found.select(names).to_pylist() == wanted.select(names).to_pylist()
    for name in ("image", "text"):
        ours, theirs = (from_column(t[name].combine_chunks())[0].astype(np.float32) for t in (found, wanted))
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # other batches, other rounding


FIRST = [
    product("lamp", PATHS[0], 1),
    product("chair", PATHS[1], 2),
    product("pan", PATHS[2], 3),
    product("bear", PATHS[3], 4),
    product("thing", PATHS[4], 5),
]


def test_only_the_categories_and_what_is_below_are_encoded(shop: Shop) -> None:
    shop.day(FIRST)
    done = shop.embed(HOME)
    assert shop.ids() == ["chair", "lamp"], "Homeware is not below Home"
    assert (done.rows, done.changed, done.detail["outside"], done.detail["pictures"]) == (5, 2, 3, 2)
    assert shop.table.dataset.count_rows() == 2


def test_adding_and_removing_categories_encodes_only_what_is_unknown(shop: Shop) -> None:
    shop.day(FIRST)
    shop.embed(LAMPS, TOYS)
    added = shop.embed(TOYS, LAMPS, HOME)
    assert (shop.ids(), added.detail["pictures"]) == (["bear", "chair", "lamp"], 1)
    removed = shop.embed(TOYS)
    assert (shop.ids(), removed.changed, removed.detail["pictures"]) == (["bear"], 2, 0)
    back = shop.embed(LAMPS, TOYS)
    assert (shop.ids(), back.changed, back.detail["pictures"], back.detail["titles"]) == (
        ["bear", "lamp"], 1, 0, 0,
    )  # fmt: skip
    everything = shop.embed()
    assert (shop.ids(), everything.detail["pictures"]) == (sorted(p["product_id"] for p in FIRST), 2)


def test_the_order_of_the_list_is_nothing_and_a_day_costs_what_changed(shop: Shop) -> None:
    shop.day(FIRST)
    shop.embed(HOME, TOYS)
    assert shop.embed(TOYS, HOME, TOYS).rows == 0
    shop.day([*FIRST[:4], product("thing", PATHS[4], 6)])
    assert shop.embed(TOYS, HOME).rows == 1


def test_a_product_moves_in_and_out_with_its_category(shop: Shop) -> None:
    shop.day(FIRST)
    shop.embed(HOME)
    shop.day([product("lamp", PATHS[3], 1), *FIRST[1:3], product("bear", PATHS[0], 4), FIRST[4]])
    done = shop.embed(HOME)
    assert (shop.ids(), done.rows, done.detail["pictures"]) == (["bear", "chair"], 2, 1)
    shop.day(FIRST)
    assert (shop.embed(HOME).detail["pictures"], shop.ids()) == (0, ["chair", "lamp"])


def test_failed_pictures_outside_are_left_alone(shop: Shop) -> None:
    broken = jpeg(9)[:200]
    shop.day(
        [product("lamp", PATHS[0], 1, image=broken), product("bear", PATHS[3], 4, image=broken), FIRST[1]]
    )
    shop.embed(HOME, TOYS)
    assert shop.embed(HOME, TOYS, retry_failed=True).rows == 2
    again = shop.embed(HOME, retry_failed=True)
    assert (again.refused, shop.ids()) == (1, ["chair", "lamp"]), "only the lamp is tried again"


def test_an_unknown_category_is_named_with_near_ones(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.day(FIRST)
    with caplog.at_level(logging.WARNING):
        shop.embed(TOYS, "Home > Lamp")
    assert "no product is in 'Home > Lamp'" in caplog.text and "'Home > Lamps'" in caplog.text
    caplog.clear()
    shop.embed(TOYS, "Home > Lamp")
    assert not caplog.text, "said once, when the list changes"


def test_a_list_without_any_product_is_refused_before_anything_changes(shop: Shop) -> None:
    shop.day(FIRST)
    shop.embed(HOME)
    pointer = table.read_pointer(shop.table.root)
    with pytest.raises(InputError, match="no product is in 'Toy'; there is 'Toys'"):
        shop.embed("Toy")
    assert table.read_pointer(shop.table.root) == pointer


def test_a_store_without_a_product_yet_takes_any_list(shop: Shop) -> None:
    with open_store(shop.lake, shop.config, read_only=False):
        pass
    assert shop.embed(HOME).rows == 0
    shop.day(FIRST)
    shop.embed(HOME)
    assert shop.ids() == ["chair", "lamp"]


def test_a_table_of_an_earlier_version_holds_all(shop: Shop) -> None:
    shop.day(FIRST)
    shop.embed()
    path = shop.table.root / table.POINTER
    content = asdict(table.read_pointer(path.parent))
    for name in ("categories", "restarts"):
        content.pop(name)
    path.write_text(checked_json.dump(content))
    assert shop.table.pointer.categories == ()
    assert shop.embed().rows == 0
    shop.embed(HOME)
    assert shop.ids() == ["chair", "lamp"]


def test_parts_of_another_list_are_not_taken(shop: Shop) -> None:
    """A shard job that began under one list and ends after the list has changed and changed back."""
    shop.day(FIRST)
    shop.embed(HOME)
    late, folder = shop.table, shop.table.root / "parts"
    shop.day([*FIRST, product("sofa", PATHS[1], 7), product("ball", PATHS[3], 8)])
    with open_store(shop.lake, shop.config) as store:
        follow(shop.categories, store, late)
        for shard in range(SHARDS):
            embed_shard(shop.config, store, late, shop.encoder, shard)
    shutil.copytree(folder, folder.with_name("kept"))
    assert "taken" not in shop.embed(TOYS).detail and not list(folder.iterdir())
    shutil.rmtree(folder)
    folder.with_name("kept").rename(folder)
    assert "taken" not in shop.embed(HOME).detail
    assert shop.ids() == ["chair", "lamp", "sofa"]


def test_index_status_and_verification_tell(shop: Shop) -> None:
    shop.day([*FIRST, product("sofa", PATHS[1], 7)])
    shop.embed(HOME)
    with open_store(shop.lake, shop.config) as store:
        build_indexes(shop.lake, shop.config, store, shop.table, ["selection"])
    with open_index(shop.lake, "selection") as generation:
        assert sorted(generation.ids.to_pylist()) == ["chair", "lamp", "sofa"]
    (row,) = [r for r in lake_status(shop.lake, shop.config) if r["what"].startswith("embeddings")]
    assert (row["rows"], row["note"]) == (3, "only Home")
    assert verify_lake(shop.lake, shop.config) == []
    shop.categories = (TOYS, HOME)
    (row,) = [r for r in lake_status(shop.lake, shop.config) if r["what"].startswith("embeddings")]
    assert row["note"] == "only Home; configured: Home, Toys"
    table = shop.table
    stray = table.dataset.to_table(filter="product_id = 'sofa'")
    strays = stray.set_column(0, stray.schema.field(0), pa.array(["bear"]))
    table.upsert(strays, table.pointer.position)
    (problem,) = verify_lake(shop.lake, shop.config)
    assert "'bear'" in problem and "Home" in problem


def test_the_gate_takes_a_changed_list_for_what_it_is(shop: Shop) -> None:
    """Fewer categories are no loss; with the same ones, products that are gone are."""
    shop.day(FIRST)
    for categories in ([], [HOME], [HOME, TOYS], [LAMPS]):
        shop.embed(*categories)
        with open_store(shop.lake, shop.config) as store:
            (built,) = build_indexes(shop.lake, shop.config, store, shop.table, ["selection"])
        assert built.changed == len(shop.ids())
    shop.embed(HOME)
    with open_store(shop.lake, shop.config) as store:
        build_indexes(shop.lake, shop.config, store, shop.table, ["selection"])
    shop.day([FIRST[0], *FIRST[2:]])
    shop.embed(HOME)
    with open_store(shop.lake, shop.config) as store, pytest.raises(StateError, match="shrink"):
        build_indexes(shop.lake, shop.config, store, shop.table, ["selection"])


rows = st.dictionaries(st.integers(0, 9), st.tuples(st.sampled_from(PATHS), st.integers(0, 5)), max_size=10)
lists = st.sets(st.sampled_from([HOME, LAMPS, TOYS, "Homeware"]), max_size=3)
steps = st.lists(st.tuples(st.none() | rows, lists, st.booleans()), min_size=1, max_size=5)


@pytest.mark.slow
@given(steps)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_any_history_ends_like_a_store_that_only_had_these(
    encoder: Encoder, history: list[tuple[dict[int, Any] | None, set[str], bool]]
) -> None:
    """Days and lists change at will, some by shards; a refused list leaves the one before in force."""
    with tempfile.TemporaryDirectory() as folder:
        shop, chosen, days = Shop(Path(folder, "shop"), encoder), set[str](), list[list[dict[str, Any]]]()
        shop.folder.mkdir()
        for day, categories, shards in [(None, set(), False), *history]:
            days.append([product(f"p{n}", path, look) for n, (path, look) in sorted((day or {}).items())])
            if not shop.lake.store.exists() and not days[-1]:
                continue
            shop.day(days[-1])
            try:
                shop.embed(*categories, shards=shards)
                chosen = categories
            except InputError:
                shop.embed(*chosen, shards=shards)
        oracle = Shop(Path(folder, "oracle"), encoder)
        oracle.folder.mkdir()
        last = next((day for day in reversed(days) if day), [])
        inside = [r for r in last if not chosen or _below(r["category"], chosen)]
        if not inside:
            assert not shop.lake.store.exists() or shop.ids() == []
            return
        oracle.day(inside)
        oracle.embed()
        alike(shop.live(), oracle.live())
        assert shop.table.pointer.position == _head(shop)


def _below(path: list[str] | None, categories: set[str]) -> bool:
    """By levels, where the code compares paths."""
    return any((path or [])[: len(levels)] == levels for levels in (c.split(" > ") for c in categories))


def _head(shop: Shop) -> tuple[int, ...]:
    with open_store(shop.lake, shop.config) as store:
        return store.head()
