"""Shards encoded on their own, then taken in: the table is the one that a single run makes."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.config import Config
from mmprod.datasets.errors import InputError, StateError
from mmprod.datasets.store import Store
from mmprod.datasets.vectors import from_column
from mmprod.embedding_table import EmbeddingTable
from mmprod.encoders.clip import Encoder
from mmprod.stages.embed import embed_changes, embed_shard, open_embeddings
from mmprod.stages.encoder import load_encoder
from mmprod.stages.ingest import ingest_table, open_store

SHARDS = 3


def ingest(world, *numbers: int) -> Config:
    """A world whose store has several shards, after some days."""
    store_section = world.config.store.model_copy(update={"shards": SHARDS})
    encoder_section = world.config.encoder.model_copy(update={"batch": 64, "commit_rows": 1000})
    config = world.config.model_copy(update={"store": store_section, "encoder": encoder_section})
    with open_store(world.lake, config, read_only=False) as store:
        for number in numbers:
            table, day = world.days[number - 1]
            ingest_table(world.lake, config, store, table, day)
    return config


def rows_of(table: EmbeddingTable) -> pa.Table:
    return pa.Table.from_batches(table.batches(), table.schema).sort_by("product_id")


def alike(a: pa.Table, b: pa.Table) -> None:
    names = ["product_id", "image_hash", "text_hash", "image_reason", "live"]
    assert a.select(names).equals(b.select(names))
    for name in ("image", "text"):
        ours, theirs = (from_column(t[name].combine_chunks())[0].astype(np.float32) for t in (a, b))
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # other batches, other rounding


def encode_all(config: Config, store: Store, table: EmbeddingTable, encoder: Encoder) -> int:
    return sum(embed_shard(config, store, table, encoder, shard).changed for shard in range(SHARDS))


def test_shards_make_the_table_of_a_single_run(world, tmp_path: Path) -> None:
    config = ingest(world, 1)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    other = EmbeddingTable(tmp_path / "other", encoder.fingerprint, encoder.width, SHARDS)
    with open_store(world.lake, config) as store:
        for day in (2, 3):
            changed = encode_all(config, store, table, encoder)
            assert changed > 0
            assert encode_all(config, store, table, encoder) == 0, "parts that are there are not made again"
            outcome = embed_changes(config, store, table, encoder)
            assert (outcome.rows, outcome.detail["taken"]) == (0, changed)
            assert table.pointer.position == store.head()
            embed_changes(config, store, other, encoder)
            alike(rows_of(table), rows_of(other))
            assert not list((table.root / "parts").iterdir())
            store.close()
            ingest(world, day)
            store = open_store(world.lake, config)
        store.close()


def test_what_changed_meanwhile_is_encoded_too(world) -> None:
    """Parts of a day, a shard missing, one left from long ago; then the next day comes before the commit."""
    config = ingest(world, 1)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    with open_store(world.lake, config) as store:
        for shard in (0, 2):
            embed_shard(config, store, table, encoder, shard)
    part = next((table.root / "parts").iterdir())
    shutil.copy(part, part.with_name("1-7-9.parquet"))
    ingest(world, 2)
    with open_store(world.lake, config) as store:
        outcome = embed_changes(config, store, table, encoder)
        assert outcome.detail["taken"] > 0 and outcome.rows > 0
        live = set(store.live_ids())
    assert set(rows_of(table)["product_id"].to_pylist()) == live
    assert not list((table.root / "parts").iterdir())


def test_a_damaged_part_is_noticed(world) -> None:
    config = ingest(world, 1)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    with open_store(world.lake, config) as store:
        embed_shard(config, store, table, encoder, 0)
        part = next((table.root / "parts").iterdir())
        content = bytearray(part.read_bytes())
        image = pq.ParquetFile(part).metadata.row_group(0).column(3)
        content[image.data_page_offset + image.total_compressed_size // 2] ^= 1
        part.write_bytes(content)
        with pytest.raises(StateError, match="remove it"):
            embed_changes(config, store, table, encoder)


def test_an_unknown_shard_is_refused(world) -> None:
    config = ingest(world, 1)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    with open_store(world.lake, config) as store, pytest.raises(InputError, match="shards 0 to 2"):
        embed_shard(config, store, table, encoder, SHARDS)
