"""A real Airflow, asked through its REST API: days, a backfill, labels, a fine-tuning with approval."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmprod import artifacts
from mmprod.airflow import demo
from mmprod.airflow.local import PASSWORD, USER
from mmprod.datasets.store import Store
from mmprod.stages.index import read_recall

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
PROFILES = ("same_item", "similar_item")
PATIENCE = 900.0
"""Seconds for the whole of it on a busy machine; about a third of that on two free cores."""


@pytest.fixture(scope="module")
def service(world, airflow: Path, api) -> Iterator[object]:
    """An Airflow in which no day's table has arrived yet; every process of it has to be gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [str(airflow), "-P", "-m", "mmprod.airflow.local", "--folder", str(world.folder), "--empty"]
    line += ["--port", str(port), "--command", world.variable["command"]]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=os.environ
    )
    assert process.stdout
    told = process.stdout.readline()
    assert told.startswith("Airflow: "), told
    yield api.Api(f"http://127.0.0.1:{port}", USER, PASSWORD)
    process.send_signal(signal.SIGTERM)
    assert "ended" in process.communicate(timeout=60)[0]
    left = [read(entry / "cmdline") for entry in Path("/proc").glob("[0-9]*") if of(world, entry)]
    assert not left


def of(world, entry: Path) -> bool:
    """Whether a process belongs to this world."""
    return str(world.folder) in read(entry / "cmdline") + read(entry / "environ")


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_a_week_of_an_operator(world, service, api, answered) -> None:
    """Three days, out of order and one of them late; labels; a fine-tuning; a backfill."""
    first, second, third = demo.days(world.folder)
    start = time.monotonic()

    def left() -> float:
        return PATIENCE - (time.monotonic() - start)

    for dag in ("catalog_daily", "review_sheets", "review_cycle", "encoder_finetune"):
        api.wait(lambda dag=dag: service.ask("GET", f"/api/v2/dags/{dag}"), left())
        service.unpause(dag)
    demo.deliver(world.folder, first)
    demo.deliver(world.folder, third)
    days = {day: service.trigger("catalog_daily", partition_key=day) for day in (first, third, second)}
    assert service.finish("catalog_daily", days[first], left()) == "success"
    late = service.states("catalog_daily", days[second])
    assert late["table"] == "deferred", "it waits without a worker"
    demo.deliver(world.folder, second)

    sheets = service.trigger("review_sheets")
    conf = {"epochs": 0.2, "products": 40, "name": "shop"}
    tuning = service.trigger("encoder_finetune", conf=conf)
    assert service.finish("review_sheets", sheets, left()) == "success"
    world.lake.inbox.mkdir(parents=True, exist_ok=True)
    dropped = time.time()
    answered(next(world.lake.surveys.glob("same_item/g*/sheet-anna.csv")), world.lake.inbox / "anna.csv")
    labels = api.wait(lambda: next(iter(service.runs("review_cycle")), None), left())
    print(f"labels dropped, a run after {time.time() - dropped:.1f} s")

    path = f"/api/v2/dags/encoder_finetune/dagRuns/{tuning}/taskInstances/approve/-1/hitlDetails"
    waiting = ("awaiting_input", "deferred")
    api.wait(lambda: service.states("encoder_finetune", tuning)["approve"] in waiting or None, left())
    before = artifacts.current(world.lake.encoder("tiny"))
    service.ask("PATCH", path, {"chosen_options": ["Approve"], "params_input": {}})

    for day in (second, third):
        assert service.finish("catalog_daily", days[day], left()) == "success", day
    assert service.finish("review_cycle", labels["dag_run_id"], left()) in ("success", "failed")  # an alert
    assert service.states("review_cycle", labels["dag_run_id"])["report"] == "success"
    assert service.finish("encoder_finetune", tuning, left()) == "success"
    assert artifacts.current(world.lake.encoder("tiny")) != before

    with Store.open(world.lake.store, read_only=True) as store:
        state = store.state_hash()
    span = {"from_date": f"{second}T00:00:00Z", "to_date": f"{second}T23:59:59Z"}
    service.ask(
        "POST",
        "/api/v2/backfills",
        {"dag_id": "catalog_daily", **span, "reprocess_behavior": "completed", "max_active_runs": 1},
    )
    runs = api.wait(lambda: backfilled(service), left())
    for run in runs:
        assert service.finish("catalog_daily", run, left()) == "success"
    with Store.open(world.lake.store, read_only=True) as store:
        assert store.state_hash() == state
    print(f"all of it after {time.monotonic() - start:.0f} s")


def backfilled(service) -> list[str] | None:
    return [r["dag_run_id"] for r in service.runs("catalog_daily") if r["run_type"] == "backfill"] or None


def test_a_killed_command_and_a_killed_scheduler_are_got_over(world, service, api) -> None:
    """The day is run again; its index command and then the scheduler are killed: nothing is different."""
    day = demo.days(world.folder)[0]
    demo.deliver(world.folder, day)
    made = {name: len(artifacts.generations(world.lake.index(name))) for name in PROFILES}
    service.unpause("catalog_daily")
    run = service.trigger("catalog_daily", partition_key=day)
    os.kill(api.wait(lambda: process(world, "mmprod", " index "), PATIENCE), signal.SIGKILL)
    api.wait(lambda: service.states("catalog_daily", run)["index"] == "up_for_retry" or None, 60)
    os.kill(api.wait(lambda: process(world, "airflow", " scheduler "), 60), signal.SIGKILL)
    assert service.finish("catalog_daily", run, PATIENCE) == "success"
    with Store.open(world.lake.store, read_only=True) as store:
        live = set(store.live_ids())
    for profile in PROFILES:
        assert len(artifacts.generations(world.lake.index(profile))) == max(made[profile], 1)
        assert set(read_recall(world.lake, profile)["anchor_id"].to_pylist()) == live
    assert not list(world.lake.root.glob("**/.draft-*"))


def process(world, *words: str) -> int | None:
    """A process of this world's Airflow, by words of its command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        command = read(entry / "cmdline").replace("\0", " ")
        if of(world, entry) and all(word in command for word in words):
            return int(entry.name)
    return None
