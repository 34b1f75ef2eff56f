"""What the DAGs are: quick to read, nothing heavy imported, and as the snapshot says."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def known(place, airflow: Path, forking) -> Iterator[Any]:
    """A world whose DAG files have been read."""
    with forking(airflow, "import driver; driver.bag()", Path(__file__).parent, **place.variables) as forked:
        yield replace(place, forked=forked)


@pytest.fixture(scope="module")
def structure(known) -> dict[str, Any]:
    found: dict[str, Any] = known.ask("structure")
    return found


def test_structure_is_as_it_was(structure) -> None:
    """After a change that is meant: remove structure.json, run this once, and look at the difference."""
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(structure, indent=1) + "\n")
        pytest.fail(f"{SNAPSHOT.name} was written anew; look at what changed")
    assert structure == json.loads(SNAPSHOT.read_text())


def test_every_dag_says_who_owns_it_and_what_to_do(structure) -> None:
    for name, dag in structure.items():
        assert dag["documented"], name
        assert "mmprod" in dag["tags"], name
        for task, facts in dag["tasks"].items():
            assert facts["owner"] not in ("", "airflow"), f"{name} {task}"


@pytest.mark.parametrize(("given", "encode", "index"), [("8", "4", "8"), ("1", "1", "1")])
def test_shards_that_are_encoded_side_by_side_share_the_cores(known, given, encode, index) -> None:
    shares = known.ask("shares", "catalog_daily", OMP_NUM_THREADS=given)
    assert (shares["encode"], shares["index_same_item"]) == (encode, index)


def test_every_pool_is_made_by_the_pools_file(structure) -> None:
    known = {"default_pool", *json.loads((DAGS / "pools.json").read_text())}
    used = {task["pool"] for dag in structure.values() for task in dag["tasks"].values()}
    assert used <= known
