"""Each DAG, run by `dag.test()` on a small rendered catalogue: what it publishes, and what it refuses.

The tests build on each other in the order they stand: a lake lives through them.
"""

import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest

from mmprod import artifacts
from mmprod.airflow import demo
from mmprod.datasets import parquet
from mmprod.datasets.store import Store
from mmprod.stages.groups import FEATURES_FILE
from mmprod.stages.index import read_recall
from mmprod.stages.searches import read_found

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DONE = {"success"}


def generation(world, root: Path) -> str | None:
    return artifacts.current(root)


def test_a_day_goes_all_the_way(world) -> None:
    day = demo.days(world.folder)[0]
    demo.deliver(world.folder, day)
    run = world.run("catalog_daily", day)
    assert run["state"] == "success"
    assert set(run["tasks"].values()) == DONE
    assert {"encode0", "encode1"} <= set(run["tasks"])
    lake = world.lake
    with Store.open(lake.store, read_only=True) as store:
        live, head = set(store.live_ids()), store.head()
    assert len(live) > 50
    pointer = json.loads(next(lake.root.glob("embeddings/*/CURRENT.json")).read_text())
    assert tuple(pointer["position"]) == head
    for profile in ("same_item", "similar_item"):
        assert generation(world, lake.index(profile)) == "g000001"
        assert set(read_recall(lake, profile)["anchor_id"].to_pylist()) == live
    with artifacts.opened(lake.features) as features:
        table = parquet.read(features.path / FEATURES_FILE)
    assert set(table["product_id"].to_pylist()) == live
    assert set(pc.unique(table["group_id"]).to_pylist()) - {None} <= live


def test_the_same_day_again_changes_nothing(world) -> None:
    day = demo.days(world.folder)[0]
    before = {root: generation(world, root) for root in world.lake.artifact_roots()}
    with Store.open(world.lake.store, read_only=True) as store:
        state = store.state_hash()
    assert world.run("catalog_daily", day)["state"] == "success"
    assert {root: generation(world, root) for root in world.lake.artifact_roots()} == before
    with Store.open(world.lake.store, read_only=True) as store:
        assert store.state_hash() == state


def test_a_bad_table_fails_at_once_and_changes_nothing(world) -> None:
    """Exit code 2: the task is failed without its three retries, and nothing after it runs."""
    day = demo.days(world.folder)[1]
    table = Path(world.variable["tables"].format(day=day))
    table.write_bytes(b"PAR1 this is no table")
    before = generation(world, world.lake.changes)
    run = world.run("catalog_daily", day)
    assert (run["state"], run["tasks"]["ingest"]) == ("failed", "failed")
    assert run["tasks"]["index"] == "upstream_failed"
    assert generation(world, world.lake.changes) == before
    table.unlink()


def test_bad_parameters_are_refused(world) -> None:
    with pytest.raises(AssertionError, match="snapshot"):
        world.run("catalog_daily", demo.days(world.folder)[1], {"snapshot": "sometimes"})


def test_selection_builds_its_index_and_reruns_the_searches(world) -> None:
    run = world.run("selection_weekly")
    assert set(run["tasks"].values()) == DONE
    texts = Path(world.variable["texts"]).read_text().split("\n")
    assert set(read_found(world.lake)["text"].to_pylist()) <= {text.strip() for text in texts}
    assert generation(world, world.lake.found) == "g000001"


def test_sheets_go_out_and_labels_come_back(world, answered) -> None:
    assert set(world.run("review_sheets")["tasks"].values()) == DONE
    sheet = next(world.lake.surveys.glob("same_item/g*/sheet-anna.csv"))
    inbox = world.lake.inbox
    inbox.mkdir(parents=True, exist_ok=True)
    answered(sheet, inbox / "anna.csv")
    run = world.run("review_cycle")
    assert {run["tasks"][name] for name in ("collect", "report")} == DONE
    assert not (inbox / "anna.csv").exists()
    assert len(list((inbox / "done").iterdir())) == 1
    assert generation(world, world.lake.evaluation("same_item"))
    assert (world.lake.reports / "index.html").exists()


def test_a_candidate_is_trained_compared_and_promoted(world) -> None:
    """Approval is taken as given here; a person is asked in test_service.py."""
    before = generation(world, world.lake.index("same_item"))
    conf = {"epochs": 0.3, "products": 40, "name": "shop"}
    run = world.run("encoder_finetune", conf=conf)
    assert run["state"] == "success", run
    assert run["tasks"]["go_back"] == "skipped"
    made = artifacts.Manifest.read(world.lake.encoder("shop") / "g000001").counts["fingerprint"]
    used = world.lake.encoder("tiny") / (generation(world, world.lake.encoder("tiny")) or "")
    assert artifacts.Manifest.read(used).counts["fingerprint"] == made
    for profile in ("same_item", "similar_item"):
        name = generation(world, world.lake.index(profile)) or ""
        assert name != before
        assert artifacts.Manifest.read(world.lake.index(profile) / name).inputs["encoder"] == made


def test_housekeeping_copies_the_store_and_stops_at_damage(world) -> None:
    assert set(world.run("housekeeping")["tasks"].values()) == DONE
    copies = list(Path(world.variable["backups"]).glob("store-*"))
    assert len(copies) == 1
    with Store.open(copies[0], read_only=True) as copy, Store.open(world.lake.store, read_only=True) as store:
        assert copy.state_hash() == store.state_hash()
    current = world.lake.recall("same_item") / (generation(world, world.lake.recall("same_item")) or "")
    shutil.copy(current / "manifest.json", current / "stray.json")
    run = world.run("housekeeping", "2025-03-17")
    assert (run["tasks"]["verify"], run["tasks"]["backup"]) == ("failed", "upstream_failed")
    (current / "stray.json").unlink()
