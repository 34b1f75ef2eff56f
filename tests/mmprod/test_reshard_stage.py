"""Resharding a lake's store: embeddings and indexes go on from where they were; a killed one is completed."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.config import load
from mmprod.datasets.embeddings import parts
from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer
from mmprod.datasets.store.layout import layout
from mmprod.datasets.store.store import Store
from mmprod.encoders.clip import Encoder
from mmprod.sections import Config
from mmprod.stages import store as stage
from mmprod.stages.daily import index
from mmprod.stages.daily.embed import bring_up, embed_shard, open_embeddings, read_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.daily.shard import encode_shard
from mmprod.stages.encoder import load_encoder
from mmprod.stages.store import open_store, reshard_store
from mmprod.storage.errors import StateError


@pytest.fixture
def world(grown, tmp_path: Path):
    """A world after its first day, the test's own."""
    shutil.copytree(grown.folder, tmp_path / "world")
    return type(grown)(tmp_path / "world")


@pytest.fixture(scope="module")
def encoder(grown) -> Encoder:
    return load_encoder(grown.lake, grown.config)


def table_of(world) -> EmbeddingTable:
    return read_embeddings(world.lake, world.config)


def ingest(world, number: int) -> None:
    with open_store(world.lake, world.config, read_only=False) as store:
        ingest_table(world.lake, world.config, store, *world.days[number - 1])


def embed(world, config: Config | None = None) -> Any:
    with open_store(world.lake, world.config) as store:
        return bring_up(world.lake, config or world.config, store)


def restricted(world, category: str) -> Config:
    section = world.config.encoder.model_copy(update={"categories": (category,)})
    return world.config.model_copy(update={"encoder": section})


def rows(world) -> dict[str, Any]:
    columns = ["product_id", "image_hash", "text_hash", "live"]
    found = table_of(world).dataset.to_table(columns=columns).to_pylist()
    return {row["product_id"]: row for row in found}


def built(world) -> list[Any]:
    with open_store(world.lake, world.config) as store:
        profiles = list(world.config.profiles)
        return index.build_indexes(world.lake, world.config, store, table_of(world), profiles)


def test_what_was_up_to_date_still_is(world) -> None:
    before = table_of(world).pointer
    with open_store(world.lake, world.config) as store:
        hashed, live = store.state_hash(), store.stats().live
    said: list[int] = []
    done = reshard_store(world.lake, world.config, 4, lambda stage, total: said.append(total) or said.append)
    assert (done.before, done.kept, done.again) == (1, None, [])
    assert done.products == live and said[0] == sum(said[1:]) == 2 * live
    with open_store(world.lake, world.config) as store:
        assert (len(store.shards), store.state_hash()) == (4, hashed)
        pointer = table_of(world).pointer
        assert (pointer.position, pointer.field_position) == (store.head(), store.field_head())
    assert (pointer.restarts, pointer.numbering, pointer.revision) == (1, 1, before.revision)
    assert embed(world).rows == 0
    assert [outcome.changed for outcome in built(world)] == [0, 0, 0]
    assert not list(world.lake.root.glob("store?*"))
    day2 = {outcome.stage: outcome for outcome in world.run(2)[0]}
    assert day2["embed"].rows < live / 2
    assert set(rows(world)) >= set(Store.open(world.lake.store, read_only=True).live_ids())


def test_what_was_behind_looks_at_all_and_encodes_what_is_new(world) -> None:
    shutil.copytree(world.folder, other := world.folder.with_name("other"))
    ingest(world, 2)
    assert reshard_store(world.lake, world.config, 3).again == [table_of(world).root]
    assert table_of(world).pointer.position == (0, 0, 0)
    found = embed(world)
    other = type(world)(other)
    ingest(other, 2)
    wanted = embed(other)
    assert found.rows > wanted.rows
    names = ("pictures", "titles")
    assert [found.detail[name] for name in names] == [wanted.detail[name] for name in names]
    assert found.changed == wanted.changed
    assert rows(world) == rows(other)
    assert embed(world).rows == 0


def test_a_table_of_some_categories_must_have_read_their_changes_too(world) -> None:
    with open_store(world.lake, world.config) as store:
        category = next(record.category[0] for record in store.iterate() if record.category)
    config = restricted(world, category)
    embed(world, config)
    assert reshard_store(world.lake, config, 2).again == []
    assert embed(world, config).rows == 0
    table, pointer = table_of(world), table_of(world).pointer
    table.upsert(table.schema.empty_table(), pointer.position, [0, 0])
    assert reshard_store(world.lake, config, 3).again == [table.root]
    assert embed(world, config).changed == 0


def test_parts_of_the_old_numbering_are_not_taken(world, encoder: Encoder) -> None:
    ingest(world, 2)
    with open_store(world.lake, world.config) as store:
        embed_shard(world.config, store, table_of(world), encoder, 0)
    root = table_of(world).root
    (root / "parts" / ".0-0-7-9.ab12.draft").touch()
    reshard_store(world.lake, world.config, 3)
    reshard_store(world.lake, world.config, 1)
    assert list((root / "parts").glob("0-0-*"))
    outcome = embed(world)
    assert "taken" not in outcome.detail and outcome.changed > 0
    assert not list((root / "parts").iterdir())


def test_a_shard_is_not_encoded_from_a_store_that_was_replaced(world, encoder: Encoder) -> None:
    """Of the old numbering, with a name of the new one, its part would be taken."""
    ingest(world, 2)
    with open_store(world.lake, world.config) as store:
        reshard_store(world.lake, world.config, 2)
        with pytest.raises(StateError, match="run again if it was resharded meanwhile"):
            encode_shard(world.lake, world.config, store, 0)
    with open_store(world.lake, world.config) as store:
        assert sum(encode_shard(world.lake, world.config, store, shard).changed for shard in (0, 1)) > 0
        assert parts.take(open_embeddings(world.lake, world.config, encoder), store, 1000) > 0


def test_killed_between_store_and_embeddings_the_next_embed_goes_on(world, monkeypatch) -> None:
    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "_finish_exchange", killed)
    monkeypatch.setattr(stage, "open_store", lambda *given: Store.open(world.lake.store, read_only=True))
    with pytest.raises(KeyboardInterrupt):
        reshard_store(world.lake, world.config, 3)
    monkeypatch.undo()
    ingest(world, 2)  # completes the exchange, and numbers changes after it
    assert table_of(world).pointer.numbering == 0
    outcome = embed(world)
    assert outcome.changed > 0
    with open_store(world.lake, world.config) as store:
        assert table_of(world).pointer.position == store.head()
        assert outcome.rows < store.stats().live / 2
    assert not list(world.lake.root.glob("store?*"))


def test_killed_half_way_the_next_command_completes_it(world, forked) -> None:
    def run(*words: str, **variables: str) -> Any:
        return forked.mmprod(*words, folder=world.folder, **variables)

    done = run("store", "reshard", "3", "--keep", MMPROD_FAULT="store.exchange:1:kill")
    assert done.status == -signal.SIGKILL
    assert not world.lake.store.exists()
    assert "every value is as it was written" in run("store", "verify").out
    assert json.loads(run("store", "stats", "--json").out)["shards"] == 3
    assert json.loads(run("embed", "--json").out)["stages"][0]["rows"] == 0
    assert layout(world.lake.root / "store.before-reshard") == (2, 1)
    assert "remove it if that one was right" in run("store", "reshard", "2", "--keep").err
    assert run("store", "reshard", "2").status == 0
    assert layout(world.lake.root / "store.before-reshard") == (2, 1)


def test_an_index_of_an_earlier_numbering_learns_every_change(world, monkeypatch) -> None:
    """1 to 2 to 1: its position is one of the present store's, but means another place."""
    read: list[Any] = []
    since = Store.field_changes_since
    monkeypatch.setattr(Store, "field_changes_since", lambda s, p=None: read.append(p) or since(s, p))
    assert [outcome.changed for outcome in built(world)] == [0, 0, 0]
    for shards in (2, 1):
        reshard_store(world.lake, world.config, shards)
    assert [outcome.changed for outcome in built(world)] == [0, 0, 0]
    ingest(world, 2)
    embed(world)
    built(world)
    assert read[3:6] == [None] * 3
    built(world)
    assert None not in read[9:]


def test_the_number_of_shards_of_a_new_store(world, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stage, "ROWS_A_SHARD", 30)
    table = world.days[0][0]
    assert len(open_shards(world, "lake", table)) == 1, "a store that is there keeps its number"
    rows = len(rows_of(world))
    assert len(open_shards(world, "new", table)) == rows // 30 > 1
    monkeypatch.setattr(stage, "MOST_SHARDS", 2)
    assert len(open_shards(world, "most", table)) == 2
    assert len(open_shards(world, "few", None)) == 1
    (tmp_path / "t.csv").write_text("product_id,title\n1,a\n")
    assert len(open_shards(world, "unknown", tmp_path / "t.csv")) == 1


def open_shards(world, lake: str, table: Path | None) -> list[Any]:
    config = load(world.folder / "mmprod.toml", {"lake": str(world.folder / lake)}).config
    with open_store(type(world.lake)(config.lake), config, read_only=False, table=table) as store:
        return store.shards


def rows_of(world) -> list[Any]:
    import pyarrow.parquet as pq

    return pq.read_table(world.days[0][0], columns=["product_id"]).to_pylist()


def test_a_number_that_is_not_the_stores_is_refused_with_the_cure(world, monkeypatch) -> None:
    monkeypatch.chdir(world.folder)
    file = world.folder / "mmprod.toml"
    file.write_text(file.read_text().replace("[store]", "[store]\nshards = 3"))
    table, day = world.days[1]
    command = ["run", "--day", day.isoformat(), "--table", str(table)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "has 1 shards, 3 are configured" in result.output
    assert "`mmprod store reshard 3`" in result.output
    result = CliRunner().invoke(app, ["store", "reshard", "2"])
    assert result.exit_code == 0, result.output
    assert "products in 2 shards, before in 1" in result.output
    assert 'set store.shards to 2 or "auto": it is 3' in result.output
    result = CliRunner().invoke(app, ["store", "reshard", "3", "--keep", "--json"])
    content = json.loads(result.stdout)
    assert (content["shards"], content["before"], content["again"]) == (3, 2, [])
    assert Path(content["kept"]).name == "store.before-reshard"
    assert CliRunner().invoke(app, command).exit_code == 0
    assert CliRunner().invoke(app, ["store", "reshard", "3"]).exit_code == 2
    root = world.lake.embedding_roots()[0]
    assert len(read_pointer(root).position) == 3
