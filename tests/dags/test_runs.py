"""Each DAG, run by `dag.test()` on a small rendered catalogue: what it publishes, and what it refuses.

The tests build on each other in the order they stand: a lake lives through them.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from mmprod.airflow import demo
from mmprod.datasets.store.store import Store
from mmprod.stages.daily.groups import FEATURES_FILE
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.search.saved import read_found
from mmprod.storage import artifacts, parquet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Event = dict[str, Any]
DONE = {"success"}
ROOT = Path(__file__).parents[2]
PROFILES = ("same_item", "similar_item")
REFUSE = {"MMPROD_INDEX__MAX_SIMILARITY": "0"}
"""With this no index passes its gate."""


CANDIDATE = {"epochs": 0.3, "products": 40, "name": "shop"}


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
    for profile in PROFILES:
        assert generation(world, lake.index(profile)) == "g000001"
        assert set(read_recall(lake, profile)["anchor_id"].to_pylist()) == live
    with artifacts.opened(lake.features) as features:
        table = parquet.read(features.path / FEATURES_FILE)
    assert set(table["product_id"].to_pylist()) == live
    assert set(pc.unique(table["group_id"]).to_pylist()) - {None} <= live


@pytest.fixture(scope="module")
def events(world) -> dict[str, Event]:
    """What each task of the first day told OpenLineage when it was done."""
    return {event["job"]["name"].partition(".")[2]: event for event in world.events("COMPLETE")}


def versions(datasets: list[Event]) -> dict[str, str]:
    """Name and version of datasets."""
    assert {one["namespace"] for one in datasets} <= {"file"}
    return {one["name"]: one["facets"]["version"]["datasetVersion"] for one in datasets}


def test_lineage_a_days_table_becomes_the_store(world, events) -> None:
    lake, event, day = world.lake, events["ingest"], demo.days(world.folder)[0]
    with Store.open(lake.store, read_only=True) as store:
        head = ",".join(map(str, store.head()))
    made = artifacts.Manifest.read(lake.changes / "g000001")
    assert versions(event["outputs"]) == {str(lake.changes): "g000001", str(lake.store): head}
    (table,) = event["inputs"]
    path = Path(world.variable["tables"].format(day=day))
    assert versions([table]) == {str(path): made.inputs["table"]}
    assert table["inputFacets"]["inputStatistics"]["size"] == path.stat().st_size
    ingest = event["run"]["facets"]["mmprod_outcome"]["stages"]["ingest"]
    assert ingest["rows"] == ingest["changed"] + ingest["reused"] + ingest["refused"]


def test_lineage_what_a_task_read_was_made_by_an_earlier_one(world, events) -> None:
    """One graph from the day's table to the features; only the encoder was there before."""
    encoder = world.lake.encoder("tiny")
    known = {(str(encoder), artifacts.current(encoder))} | set(versions(events["ingest"]["inputs"]).items())
    for name in sorted(events, key=lambda name: events[name]["eventTime"]):
        read = set(versions(events[name]["inputs"]).items())
        assert read <= known, name
        known |= set(versions(events[name]["outputs"]).items())
    lake = world.lake
    for task, root in (("index_same_item", lake.index("same_item")), ("features", lake.features)):
        assert versions(events[task]["outputs"]) == {str(root): artifacts.current(root)}
        assert events[task]["inputs"]


def test_lineage_an_index_carries_its_manifest_and_its_size(world, events) -> None:
    folder = world.lake.index("same_item") / "g000001"
    manifest = json.loads((folder / "manifest.json").read_text())
    (index,) = events["index_same_item"]["outputs"]
    told = index["facets"]["mmprod_artifact"]["manifest"]
    assert told.keys() == manifest.keys() - {"files"}
    for name in ("kind", "inputs", "counts", "versions"):
        assert told[name] == manifest[name]
    statistics = index["outputFacets"]["outputStatistics"]
    assert statistics["rowCount"] == manifest["counts"]["products"]
    assert statistics["fileCount"] == len(manifest["files"])
    assert statistics["size"] == sum((folder / name).stat().st_size for name in manifest["files"])


def test_lineage_who_reads_an_index_sees_what_its_gate_found(world, events) -> None:
    name = str(world.lake.index("same_item"))
    index = next(one for one in events["recall_same_item"]["inputs"] if one["name"] == name)
    manifest = artifacts.Manifest.read(world.lake.index("same_item") / "g000001")
    found = {a["assertion"]: a for a in index["inputFacets"]["dataQualityAssertions"]["assertions"]}
    checks = {check["name"]: check for check in manifest.counts["gate"]["checks"]}
    assert found.keys() == checks.keys()
    assert found["recall@10"]["success"] is True
    assert float(found["recall@10"]["actual"]) == checks["recall@10"]["value"]


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
    assert run["tasks"]["promote"] == "upstream_failed"
    assert generation(world, world.lake.changes) == before
    told = next(event for event in world.events("FAIL") if event["job"]["name"] == "catalog_daily.ingest")
    assert [one["name"] for one in told["inputs"]] == [str(table)]
    assert told["outputs"] == []
    assert "exit code 2" in told["run"]["facets"]["errorMessage"]["message"]
    table.unlink()


def test_bad_parameters_are_refused(world) -> None:
    with pytest.raises(AssertionError, match="snapshot"):
        world.run("catalog_daily", demo.days(world.folder)[1], {"snapshot": "sometimes"})


def test_a_day_without_indexes_for_long_backfills(world) -> None:
    day = demo.days(world.folder)[1]
    demo.deliver(world.folder, day)
    run = world.run("catalog_daily", day, {"indexes": False})
    assert run["state"] == "success"
    assert {run["tasks"][name] for name in ("promote", "recall_same_item", "features")} == {"skipped"}
    with Store.open(world.lake.store, read_only=True) as store:
        assert day in store.days()
    assert generation(world, world.lake.index("same_item")) == "g000001"


def test_a_refused_index_holds_all_back(world) -> None:
    day = demo.days(world.folder)[2]
    demo.deliver(world.folder, day)
    run = world.run("catalog_daily", day, **REFUSE)
    assert (run["state"], run["tasks"]["index_same_item"]) == ("failed", "failed")
    assert {run["tasks"][name] for name in ("promote", "recall_same_item")} == {"upstream_failed"}
    assert {generation(world, world.lake.index(name)) for name in PROFILES} == {"g000001"}


def test_selection_builds_its_index_and_reruns_the_searches(world) -> None:
    run = world.run("selection_weekly")
    assert set(run["tasks"].values()) == DONE
    texts = Path(world.variable["texts"]).read_text().split("\n")
    assert set(read_found(world.lake)["text"].to_pylist()) <= {text.strip() for text in texts}
    assert generation(world, world.lake.found) == "g000001"


@pytest.fixture(scope="module")
def online(missing, world, free_port: Callable[[], int]) -> Iterator[Callable[..., Any]]:
    """Asks the online service, which serves the indexes that there are now, by a command of mmprod."""
    if not (ROOT / ".venv-triton" / ".installed").exists():
        missing(".venv-triton", "make triton")
    environment = {**os.environ, "MMPROD_SERVING__PORT": str(free_port())}
    lake = ["--config", world.variable["config"], "--lake", world.variable["lake"], "--json"]

    def ask(*words: str) -> Any:
        line = [world.variable["command"], *words, *lake]
        done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    ask("release", "build", "--export")
    ask("triton", "start")
    yield ask
    ask("triton", "stop")


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


def test_a_promoted_encoder_whose_indexes_are_refused_goes_back(world) -> None:
    """Approval is taken as given here; a person is asked in test_service.py."""
    before = [generation(world, root) for root in (world.lake.encoder("tiny"), world.lake.index("same_item"))]
    run = world.run("encoder_finetune", conf=CANDIDATE, **REFUSE)
    assert run["state"] == "failed"
    assert {run["tasks"][name] for name in ("promote", "embed", "go_back")} == DONE
    assert {run["tasks"][name] for name in ("index", "recall_same_item")} == {"failed", "upstream_failed"}
    roots = world.lake.encoder("tiny"), world.lake.index("same_item")
    assert [generation(world, root) for root in roots] == before


def test_what_is_online_stays_while_its_indexes_do(world, online) -> None:
    assert set(world.run("online_release")["tasks"].values()) == DONE
    assert online("triton", "status")["release"] == "g000001"


def test_a_candidate_is_trained_compared_and_promoted(world) -> None:
    before = generation(world, world.lake.index("same_item"))
    run = world.run("encoder_finetune", "2025-03-11", CANDIDATE)
    assert run["state"] == "success", run
    assert run["tasks"]["go_back"] == "skipped"
    made = artifacts.Manifest.read(world.lake.encoder("shop") / "g000001").counts["fingerprint"]
    used = world.lake.encoder("tiny") / (generation(world, world.lake.encoder("tiny")) or "")
    assert artifacts.Manifest.read(used).counts["fingerprint"] == made
    for profile in PROFILES:
        name = generation(world, world.lake.index(profile)) or ""
        assert name != before
        assert artifacts.Manifest.read(world.lake.index(profile) / name).inputs["encoder"] == made


def test_the_online_service_goes_over_to_a_promoted_encoder(world, online) -> None:
    run = world.run("online_release", "2025-03-12")
    assert set(run["tasks"].values()) == DONE
    told = online("triton", "status")
    assert told["release"] == generation(world, world.lake.releases) == "g000002"
    used = artifacts.Manifest.read(world.lake.releases / "g000002").inputs["encoder"]
    assert used == artifacts.Manifest.read(world.lake.encoder("shop") / "g000001").counts["fingerprint"]
    assert "text_encoder" in told["checked"]


def test_every_month_somebody_asks_for_a_candidate(world) -> None:
    run = world.run("encoder_monthly", "2025-04-01")
    assert run["tasks"] == {"finetune": "success"}
    assert "queued" in world.ask("runs", "encoder_finetune")


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
