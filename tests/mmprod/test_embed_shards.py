"""Shards encoded on their own, then taken in: the table is the one that a single run makes."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.config import Config
from mmprod.datasets.embeddings import parts as parts
from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.store.store import Store
from mmprod.datasets.vectors import from_column
from mmprod.encoders.clip import Encoder
from mmprod.stages.daily.embed import embed_changes, embed_shard, open_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.encoder import load_encoder
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError, StateError

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
    shutil.copy(part, part.with_name("0-1-7-9.parquet"))
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


def cut(config: Config, rows: int) -> Config:
    """The same, with parts of so many changes."""
    return config.model_copy(update={"encoder": config.encoder.model_copy(update={"part_rows": rows})})


def names(table: EmbeddingTable) -> list[tuple[int, int]]:
    """Start and end of every part, in order."""
    spans = (file.stem.split("-")[-2:] for file in (table.root / "parts").glob("[0-9]*"))
    return sorted((int(start), int(end)) for start, end in spans)


def test_a_shard_is_cut_into_parts_that_are_taken_in_order(world, tmp_path: Path) -> None:
    """Part 8-12 comes before 12-16 as numbers do, not as names do."""
    config = cut(ingest(world, 1), 4)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    whole = EmbeddingTable(tmp_path / "whole", encoder.fingerprint, encoder.width, SHARDS)
    with open_store(world.lake, config) as store:
        head = store.head()[0]
        outcome = embed_shard(config, store, table, encoder, 0)
        cuts = [*range(0, head, 4), head]
        assert head > 12 and names(table) == list(pairwise(cuts))
        assert outcome.rows == outcome.changed == head
        assert outcome.detail["titles"] == head, "counts are of all parts"
        for shard in (1, 2):
            embed_shard(config, store, table, encoder, shard)
        assert embed_changes(config, store, table, encoder).rows == 0
        embed_changes(config, store, whole, encoder)
    alike(rows_of(table), rows_of(whole))


def test_killed_it_loses_only_the_part_it_was_at(world) -> None:
    config = cut(ingest(world, 1), 5)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    with open_store(world.lake, config) as store:
        head = store.head()[0]

        def give_up(stage: str, total: int | None):
            done = 0

            def advance(count: int, note: str = "") -> None:
                nonlocal done
                done += count
                if done > 12:
                    raise KeyboardInterrupt

            return advance

        with pytest.raises(KeyboardInterrupt):
            embed_shard(config, store, table, encoder, 0, give_up)
        assert names(table) == [(0, 5), (5, 10)]
        assert len(list((table.root / "parts").glob(".*.draft"))) == 1
        assert embed_shard(config, store, table, encoder, 0).changed == head - 10
        embed_changes(config, store, table, encoder)
    assert not list((table.root / "parts").iterdir()), "the dead one's draft too"


def test_products_that_change_between_two_parts(world, tmp_path: Path) -> None:
    """A part is made, then a day removes and changes products of it, then the parts behind it are made."""
    config = cut(ingest(world, 1), 5)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    single = EmbeddingTable(tmp_path / "single", encoder.fingerprint, encoder.width, SHARDS)
    with open_store(world.lake, config) as store:
        encode_all(config, store, table, encoder)
    ingest(world, 2, 3)
    with open_store(world.lake, config) as store:
        encode_all(config, store, table, encoder)
        removed = store.stats().removed
        embed_changes(config, store, table, encoder)
        embed_changes(config, store, single, encoder)
    assert removed > 0
    alike(rows_of(table), rows_of(single))


def test_of_two_parts_with_one_start_the_longer_is_taken(world) -> None:
    config = ingest(world, 1)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    with open_store(world.lake, config) as store:
        embed_shard(config, store, table, encoder, 0)
    ingest(world, 2)
    with open_store(world.lake, config) as store:
        embed_shard(config, store, table, encoder, 0)
        assert [start for start, _ in names(table)] == [0, 0]
        parts.take(table, store, 1000)
        assert table.pointer.position[0] == store.head()[0]


def test_two_attempts_at_one_part_do_not_share_a_draft(world) -> None:
    """Each writes its own; what is published is whole, whoever comes last."""
    config = ingest(world, 1)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    span = parts.Span(0, 0, 3)
    rows = table.schema.empty_table().to_batches()

    def late():
        parts.write(table, span, iter(rows))
        assert parts.path(table, span).exists()
        yield from rows

    parts.write(table, span, late())
    assert [path.name for path in (table.root / "parts").iterdir()] == [parts.path(table, span).name]


def test_what_the_table_has_come_past_is_not_published(world) -> None:
    config = ingest(world, 1)
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    with open_store(world.lake, config) as store:

        def late():
            other = open_embeddings(world.lake, config, encoder)
            for _ in range(2):  # a later run clears up what an earlier one has come past
                embed_changes(config, store, other, encoder)
            yield from table.schema.empty_table().to_batches()

        with pytest.raises(StateError, match="come past it"):
            parts.write(table, parts.Span(0, 0, store.head()[0]), late())
    assert not list((table.root / "parts").iterdir())
