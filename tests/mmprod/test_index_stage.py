"""Indexes are built beside those in use, and put in use together or not at all."""

import dataclasses
import shutil

import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.retrieval.gate import Check, gate
from mmprod.stages.daily.embed import bring_up, read_embeddings
from mmprod.stages.daily.index import build_indexes, promote_indexes
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.store import open_store
from mmprod.storage import artifacts
from mmprod.storage.errors import StateError

BOTH = ["same_item", "similar_item"]


def in_use(world) -> list[str | None]:
    return [artifacts.current(world.lake.index(name)) for name in BOTH]


def hold(world, *profiles: str, **limits: float):
    """Build indexes and leave those in use alone; the profile's outcomes."""
    config = world.config.model_copy(update={"index": world.config.index.model_copy(update=limits)})
    with open_store(world.lake, config) as store:
        table = read_embeddings(world.lake, config)
        return build_indexes(world.lake, config, store, table, profiles or BOTH, hold=True)


@pytest.fixture
def second_day(world):
    """A world whose second day is embedded, with the first day's indexes in use."""
    world.run(1)
    kept = {name: artifacts.current(world.lake.index(name)) for name in BOTH}
    world.run(2)
    for name, generation in kept.items():
        artifacts.switch(world.lake.index(name), generation)
        shutil.rmtree(world.lake.index(name) / "g000002")
    return world


def test_a_held_index_is_not_in_use_until_all_are_promoted(second_day) -> None:
    hold(second_day)
    assert in_use(second_day) == ["g000001"] * 2
    outcome = promote_indexes(second_day.lake, BOTH)
    assert (outcome.changed, outcome.detail) == (2, dict.fromkeys(BOTH, "g000002"))
    assert in_use(second_day) == ["g000002"] * 2
    assert promote_indexes(second_day.lake, BOTH).reused == 2


def test_a_held_index_is_not_built_twice(second_day) -> None:
    hold(second_day)
    assert [outcome.reused for outcome in hold(second_day)] == [outcome.rows for outcome in hold(second_day)]
    assert artifacts.newest(second_day.lake.index("same_item")) == "g000002"


def test_one_that_was_refused_holds_all_back(second_day) -> None:
    hold(second_day, "same_item")
    with pytest.raises(StateError, match="similar_item g000002: similarity"):
        hold(second_day, "similar_item", max_similarity=0.0)
    with pytest.raises(StateError, match="not let through by the gate: similar_item g000002"):
        promote_indexes(second_day.lake, BOTH)
    assert in_use(second_day) == ["g000001"] * 2
    hold(second_day, "similar_item")  # built again: what was refused is not taken for done
    assert promote_indexes(second_day.lake, BOTH).changed == 2


def test_a_refused_one_that_somebody_put_in_use_counts_as_passed(second_day) -> None:
    with pytest.raises(StateError, match="gate"):
        hold(second_day, max_similarity=0.0)
    for name in BOTH:
        artifacts.rollback(second_day.lake.index(name), "g000002")
    assert promote_indexes(second_day.lake, BOTH).reused == 2
    assert [outcome.changed for outcome in hold(second_day)] == [0, 0]


def test_a_damaged_one_holds_all_back(second_day) -> None:
    hold(second_day)
    index = second_day.lake.index("similar_item") / "g000002" / "index.faiss"
    index.chmod(0o644)
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    with pytest.raises(StateError, match=r"similar_item/g000002 is damaged: index\.faiss"):
        promote_indexes(second_day.lake, BOTH)
    assert in_use(second_day) == ["g000001"] * 2


def test_indexes_of_two_encoders_never_serve_together(second_day) -> None:
    hold(second_day, "same_item")
    root = second_day.lake.index("similar_item")
    made = artifacts.Manifest.read(root / "g000001")
    with artifacts.publishing(root, "index", {**made.inputs, "encoder": "another"}, made.config) as draft:
        draft.counts |= made.counts
    with pytest.raises(StateError, match=r"different encoders: same_item .*, similar_item another"):
        promote_indexes(second_day.lake, BOTH)
    assert in_use(second_day) == ["g000001"] * 2


def test_what_was_never_built_or_embedded_is_said(world) -> None:
    with pytest.raises(StateError, match="no index of profile same_item was built yet"):
        promote_indexes(world.lake, BOTH)
    with pytest.raises(StateError, match="run `mmprod embed`"):
        read_embeddings(world.lake, world.config)


def test_going_back_passes_over_one_that_was_refused(second_day) -> None:
    with pytest.raises(StateError, match="gate"):
        hold(second_day, max_similarity=0.0)
    hold(second_day)
    promote_indexes(second_day.lake, BOTH)
    assert in_use(second_day) == ["g000003"] * 2
    assert artifacts.rollback(second_day.lake.index("same_item")) == "g000001"


def test_a_profile_that_is_not_configured_is_named_with_those_that_are(world, monkeypatch) -> None:
    monkeypatch.chdir(world.folder)
    result = CliRunner().invoke(app, ["index", "promote", "--profile", "nope"])
    assert result.exit_code == 2
    assert "no profile 'nope'; there are same_item, selection, similar_item" in result.stderr


def trained_for(world, number: int) -> int:
    made = artifacts.Manifest.read(world.lake.index("same_item") / f"g{number:06d}")
    return made.counts["trained_for"]


def test_the_next_index_takes_over_the_training(world) -> None:
    settings = world.folder / "mmprod.toml"
    few = '[index]\nfactory = "IVF4,Flat"\ntrained_for = 2\nmin_recall = 0.5\n'
    settings.write_text(settings.read_text().replace("[index]\n", few))
    world.run(1)
    root = world.lake.index("same_item")
    training = (root / "g000001" / "training.faiss").read_bytes()
    world.run(2)
    assert (root / "g000002" / "training.faiss").read_bytes() == training
    assert [trained_for(world, 1), trained_for(world, 2)] == [1, 2]
    world.run(3)  # the third is trained anew
    assert trained_for(world, 3) == 1
    assert (root / "g000003" / "training.faiss").read_bytes() != training


def test_an_index_that_fails_with_a_training_taken_over_is_trained_anew(world, monkeypatch) -> None:
    settings = world.folder / "mmprod.toml"
    settings.write_text(settings.read_text().replace("[index]\n", '[index]\nfactory = "IVF4,Flat"\n'))
    world.run(1)
    judged = []

    def strict(*given, **limits):
        report = gate(*given, **limits)
        judged.append(report)
        return (
            dataclasses.replace(report, checks=(Check("self", 0, 1, ok=False),))
            if len(judged) == 1
            else report
        )

    monkeypatch.setattr("mmprod.stages.daily.index.gate", strict)
    hold_after_second_day(world)
    assert trained_for(world, 2) == 1
    assert len(judged) >= 2


def hold_after_second_day(world) -> None:
    """Embed the second day and build one index."""
    table, day = world.days[1]
    with open_store(world.lake, world.config, read_only=False) as store:
        ingest_table(world.lake, world.config, store, table, day)
        bring_up(world.lake, world.config, store)
    hold(world, "same_item")
