"""What the DAGs are: quick to read, nothing heavy imported, and as the snapshot says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

SNAPSHOT = Path(__file__).with_name("structure.json")
DAGS = Path(__file__).parents[2] / "dags"
MOST_LINES = 120


def test_every_file_is_read_in_a_minute_and_holds_no_logic() -> None:
    for path in DAGS.glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= MOST_LINES, path
        for word in ("\nimport ", "mmprod.stages", "mmprod.datasets", "subprocess", "\n    if ", "try:"):
            assert word not in text, f"{path.name} has {word!r}"


def test_parsing_is_quick_and_imports_nothing_heavy(place, airflow: Path, forking) -> None:
    with forking(airflow, "", Path(__file__).parent, **place.variables) as fresh:
        found = replace(place, forked=fresh).ask("parse")
    assert found["heavy"] == []
    assert sum(found["seconds"].values()) < 2, found["seconds"]  # all files, Airflow's own operators included


def test_structure_is_as_it_was(world) -> None:
    """After a change that is meant: remove structure.json, run this once, and look at the difference."""
    found = world.ask("structure")
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n")
        pytest.fail(f"{SNAPSHOT.name} was written anew; look at what changed")
    assert found == json.loads(SNAPSHOT.read_text())


def test_every_dag_says_who_owns_it_and_what_to_do(world) -> None:
    for name, dag in world.ask("structure").items():
        assert dag["documented"], name
        assert "mmprod" in dag["tags"], name
        for task, facts in dag["tasks"].items():
            assert facts["owner"] not in ("", "airflow"), f"{name} {task}"


@pytest.mark.parametrize(("given", "encode", "index"), [("8", "4", "8"), ("1", "1", "1")])
def test_shards_that_are_encoded_side_by_side_share_the_cores(world, given, encode, index) -> None:
    shares = world.ask("shares", "catalog_daily", OMP_NUM_THREADS=given)
    assert (shares["encode"], shares["index_same_item"]) == (encode, index)


def test_every_pool_is_made_by_the_pools_file(world) -> None:
    known = {"default_pool", *json.loads((DAGS / "pools.json").read_text())}
    used = {task["pool"] for dag in world.ask("structure").values() for task in dag["tasks"].values()}
    assert used <= known
