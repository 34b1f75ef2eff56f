"""A candidate encoder: compared beside the lake, put in the place of the one in use, taken back. Backups."""

import shutil
from pathlib import Path

import pytest

from mmprod.datasets.store.store import Store
from mmprod.encoders.train import Plan
from mmprod.stages.daily.embed import bring_up, read_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.search import search_text
from mmprod.stages.status import lake_status
from mmprod.stages.store import backup_store, open_store
from mmprod.stages.training.promotion import compare_encoders, promote_encoder
from mmprod.stages.training.train import train_encoder
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError


def candidate(world, name: str = "shop"):
    """Another encoder, trained a little differently; the configuration that names it."""
    section = world.config.encoder.model_copy(update={"model": f"lake:{name}"})
    config = world.config.model_copy(update={"encoder": section})
    table = world.folder / "catalogue" / "train.parquet"
    train_encoder(world.lake, config, table, Plan(steps=3, batch=64, seed=5))
    return config


def promote(world) -> dict[str, int]:
    """What changed in each of the stages of a promotion."""
    with open_store(world.lake, world.config) as store:
        outcomes = promote_encoder(world.lake, world.config, store, "shop")
    return {outcome.stage: outcome.changed for outcome in outcomes}


def live_in(world) -> set[str]:
    """The live products of the table that indexes are made from."""
    batches = read_embeddings(world.lake, world.config).batches()
    return {product for batch in batches for product in batch["product_id"].to_pylist()}


def test_a_candidate_takes_the_place_and_everything_follows(world) -> None:
    world.run(1)
    old = load_encoder(world.lake, world.config)
    new = load_encoder(world.lake, candidate(world))
    assert promote(world) == {"embed": len(live_in(world)), "promote": 1}
    assert promote(world) == {"embed": 0, "promote": 0}
    assert load_encoder(world.lake, world.config).fingerprint == new.fingerprint
    kept = load_encoder(world.lake, world.config, old.fingerprint)
    with open_store(world.lake, world.config) as store:
        assert search_text(world.lake, store, kept, "red mug", "selection", 3), (
            "texts still find the old index"
        )
    world.run(1)
    for profile in world.config.profiles:
        with artifacts.opened(world.lake.index(profile)) as opened:
            assert opened.manifest.inputs["encoder"] == new.fingerprint
    root = world.lake.encoder("tiny")
    assert artifacts.rollback(root) == "g000001"
    assert load_encoder(world.lake, world.config).fingerprint == old.fingerprint


def test_days_go_on_while_a_candidate_is_embedded_beside_and_takes_the_place(world) -> None:
    """At every step of both, what reads embeddings finds all products of the last day that was embedded."""
    world.run(1)
    new = load_encoder(world.lake, candidate(world))
    with open_store(world.lake, world.config, read_only=False) as store:
        first = bring_up(world.lake, world.config, store, candidate="shop")
        assert first.changed == len(set(store.live_ids()))
        assert bring_up(world.lake, world.config, store, candidate="shop").rows == 0
        table, day = world.days[1]
        ingest_table(world.lake, world.config, store, table, day)
        daily = bring_up(world.lake, world.config, store)
        live = set(store.live_ids())
        assert live_in(world) == live

        moved, switched = promote_encoder(world.lake, world.config, store, "shop")
        assert (moved.rows, moved.changed) == (daily.rows, daily.changed), "only what the day changed"
        assert switched.changed == 1
        assert read_embeddings(world.lake, world.config).pointer.encoder == new.fingerprint
        assert live_in(world) == live, "the day under way goes on with all of its products"

        artifacts.rollback(world.lake.encoder("tiny"))
        assert live_in(world) == live
    notes = [row["note"] for row in lake_status(world.lake, world.config) if "embeddings" in row["what"]]
    assert sorted(notes) == ["of lake:shop", "of lake:tiny"]


def test_only_another_encoder_of_the_lake_can_take_the_place(world) -> None:
    world.run(1)
    with open_store(world.lake, world.config) as store:
        with pytest.raises(InputError, match="another one"):
            promote_encoder(world.lake, world.config, store, "tiny")
        with pytest.raises(InputError, match="no encoder 'shop'"):
            promote_encoder(world.lake, world.config, store, "shop")
        foreign = world.config.encoder.model_copy(update={"model": "local-dir:somewhere"})
        config = world.config.model_copy(update={"encoder": foreign})
        with pytest.raises(InputError, match="local-dir:somewhere"):
            promote_encoder(world.lake, config, store, "shop")


def test_an_encoder_compared_with_itself_changes_nothing(world) -> None:
    world.run(1)
    encoder, other = load_encoder(world.lake, world.config), load_encoder(world.lake, candidate(world))
    seen: list[int] = []
    with open_store(world.lake, world.config) as store:
        same = compare_encoders(world.config, store, encoder, encoder, 40, seen.append)
        differs = compare_encoders(world.config, store, encoder, other, 40, lambda rows, note="": None)
        assert sum(seen) == 2 * same.products
        with pytest.raises(InputError, match="too few"):
            compare_encoders(world.config, store, encoder, encoder, 1, lambda rows, note="": None)
    assert (same.overlap, same.current) == (1.0, same.candidate)
    assert 0 <= differs.overlap < 1
    assert differs.current == same.current


def test_a_backup_is_the_store_and_the_oldest_go(world, tmp_path: Path) -> None:
    world.run(1)
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / ".store-dead").mkdir()
    copies = [backup_store(world.lake, world.config, folder, keep=2)[0] for _ in range(3)]
    assert sorted(folder.iterdir()) == copies[1:]
    with Store.open(copies[-1], read_only=True) as copy, open_store(world.lake, world.config) as store:
        assert copy.state_hash() == store.state_hash()
    shutil.rmtree(world.lake.store)
    shutil.copytree(copies[-1], world.lake.store)
    assert world.run(1)[0][0].reused > 0, "what was restored can be gone on with"
