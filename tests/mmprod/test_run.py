"""Days through the whole pipeline: counts as planted, and a second run changes nothing."""

import hashlib
import json
from pathlib import Path

import pytest

from mmprod.encoders.train import Plan
from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.encoder import load_encoder
from mmprod.stages.open_index import encoder_of
from mmprod.stages.outcome import Outcome
from mmprod.stages.status import prune_lake
from mmprod.stages.store import open_store
from mmprod.stages.training.train import train_encoder
from mmprod.storage.errors import InputError, StateError


def contents(lake: Path) -> dict[str, str]:
    """Every file below the lake by its content; run records are made anew by every run."""
    locks = {"lock.mdb", "LOCK", ".lock"}  # they hold the number of the process that wrote last
    files = (p for p in lake.rglob("*") if p.is_file() and p.parent.name != "runs" and p.name not in locks)
    return {str(p.relative_to(lake)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def by_stage(outcomes: list[Outcome]) -> dict[str, Outcome]:
    return {outcome.stage: outcome for outcome in outcomes}


@pytest.mark.slow
def test_three_days_do_what_was_planted_and_again_change_nothing(world) -> None:
    planted = json.loads((world.folder / "catalogue" / "planted.json").read_text())
    for number, plan in enumerate(planted, start=1):
        (outcomes,) = world.run(number)
        ingest = by_stage(outcomes)["ingest"]
        kinds = ("added", "picture", "title", "fields", "volatile", "removed", "relisted", "stale")
        assert {kind: ingest.detail[kind] for kind in kinds} == {kind: plan[kind] for kind in kinds}
        assert (ingest.rows, ingest.reused, ingest.refused) == (
            plan["rows"],
            plan["unchanged"],
            plan["quarantined"],
        )
        before = contents(world.lake.root)
        (again,) = world.run(number)
        assert by_stage(again)["embed"].changed == 0
        assert contents(world.lake.root) == before

    with open_store(world.lake, world.config) as store:
        live = set(store.live_ids())
        table = open_embeddings(world.lake, world.config, load_encoder(world.lake, world.config))
        ids = [name for batch in table.batches() for name in batch["product_id"].to_pylist()]
    assert sorted(ids) == sorted(live)


def test_only_what_changed_is_encoded(world) -> None:
    world.run(1)
    plan = json.loads((world.folder / "catalogue" / "planted.json").read_text())[1]
    (outcomes,) = world.run(2)
    embed = by_stage(outcomes)["embed"]
    assert embed.detail["pictures"] <= plan["added"] + plan["picture"]
    assert embed.detail["titles"] <= plan["added"] + plan["title"] + plan["picture"]
    assert embed.rows <= sum(plan[k] for k in ("added", "picture", "title", "removed"))


def test_a_second_writer_is_refused_and_told_who_writes(world) -> None:
    with world.lake.writing(), pytest.raises(StateError, match="another run"), world.lake.writing():
        pass


def test_an_unusable_encoder_is_refused_before_anything_changes(world) -> None:
    weights = next(world.lake.root.rglob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StateError, match="sha256"):
        world.run(1)
    settings = world.folder / "mmprod.toml"
    settings.write_text(settings.read_text().replace("[encoder]", '[encoder]\nmodel = "lake:none"'))
    with pytest.raises(InputError, match="no encoder 'none'"):
        world.run(1)
    assert not world.lake.store.exists()


def test_a_run_record_says_what_was_done(world) -> None:
    world.run(1)
    (record,) = world.lake.runs.glob("*.json")
    stages = {stage["stage"] for stage in json.loads(record.read_text())["stages"]}
    assert {"ingest", "embed", "index same_item", "recall same_item"} <= stages


def test_when_one_profile_is_refused_none_is_switched(world) -> None:
    world.run(1)
    settings = world.folder / "mmprod.toml"
    settings.write_text(settings.read_text().replace("max_similarity = 1.0", "max_similarity = 0.0"))
    with pytest.raises(StateError, match="similarity"):
        world.run(2)
    assert {p.read_text()[:7] for p in world.lake.root.glob("indexes/*/CURRENT")} == {"g000001"}
    settings.write_text(settings.read_text().replace("max_similarity = 0.0", "max_similarity = 1.0"))
    world.run(2)
    assert "g000001" not in {p.read_text()[:7] for p in world.lake.root.glob("indexes/*/CURRENT")}


def test_an_encoder_trained_anew_leaves_the_earlier_one_to_answer(world) -> None:
    world.run(1)
    before = encoder_of(world.lake, "selection")
    table = world.folder / "catalogue" / "train.parquet"
    train_encoder(world.lake, world.config, table, Plan(steps=2, batch=32))
    assert load_encoder(world.lake, world.config).fingerprint != before
    assert load_encoder(world.lake, world.config, before).fingerprint == before
    world.run(1)
    assert encoder_of(world.lake, "selection") != before


def test_tidying_makes_nothing_anew(world) -> None:
    world.run(1)
    prune_lake(world.lake, keep=1)
    (outcomes,) = world.run(1)
    assert all(outcome.changed == 0 for outcome in outcomes)
