"""A real Airflow, asked through its REST API: days, faults, labels, a fine-tuning with approval, a backfill.

The tests build on each other in the order they stand: a lake lives through them. Retries come after a second
and time-outs are short (benchmarks/kills/service.py); the long form of the kills is
benchmarks/airflow_kills.py.
"""

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import psutil
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kills.api import ENDED, wait
from kills.content import content, leftovers
from kills.service import QUICK, Service, quick_dags, running
from kills.victims import Aim, Command, commands, kills

from mmprod.airflow import demo
from mmprod.datasets.store.store import Store
from mmprod.stages.daily.recall import read_recall
from mmprod.storage import artifacts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
DAILY, TUNING = "catalog_daily", "encoder_finetune"
PROFILES = ("same_item", "similar_item")
PATIENCE = 600.0
"""Seconds that anything here may take on a busy machine."""
READING = 10.0  # seconds
CALM = {"SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1"}
"""Else a scheduler that waits takes a tenth of a core."""
COMMAND = """#!/bin/sh
case " $* " in
  *" --shard "* | *" finetune "* | *" export onnx "* | *" encoder compare "*) exec {stand_in} "$@" ;;
esac
exec {mmprod} "$@"
"""


@pytest.fixture(scope="module")
def world(place):
    """Nothing runs in it but the service."""
    return place


@pytest.fixture(scope="module")
def started(world, command: Path, stand_in: Path) -> Path:
    """What tasks start: mmprod; for what imports torch, and is not killed or stopped here, its stand-in."""
    path: Path = world.folder / "mmprod"
    path.write_text(COMMAND.format(stand_in=stand_in, mmprod=command))
    path.chmod(0o700)
    return path


@pytest.fixture(scope="module")
def service(world, airflow: Path, started: Path) -> Iterator[Service]:
    """An Airflow in which no day's table has arrived yet; every process of it has to be gone afterwards."""
    dags = quick_dags(world.folder / "dags", DAILY, "review_cycle", TUNING)
    shutil.copytree(world.lake.root, world.folder / "fresh")
    with mock.patch.dict(QUICK, CALM), running(world.folder, dags, started) as service:
        for dag in (DAILY, "review_sheets", "review_cycle", TUNING):
            service.api.unpause(dag)
        yield service
        wait(lambda: not list(abandoned(service)) or None, PATIENCE)
    assert not [process.cmdline() for process in psutil.process_iter() if of(world, process)]


def abandoned(service: Service) -> Iterator[psutil.Process]:
    """What killed processes leave: dead children that nobody took note of, workers that wait for ever."""
    for process in psutil.Process(service.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_ZOMBIE or "<idle>" in " ".join(process.cmdline()):
                yield process


def of(world, process: psutil.Process) -> bool:
    try:
        return str(world.folder) in " ".join([*process.cmdline(), *process.environ().values()])
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def first_day(world, service) -> dict[str, str]:
    """What the lake holds after the first day, run twice at the same time."""
    day = demo.days(world.folder)[0]
    demo.deliver(world.folder, day)
    runs = [service.api.trigger(DAILY, partition_key=day) for _ in range(2)]
    assert [service.api.finish(DAILY, run, PATIENCE) for run in runs] == ["success", "success"]
    assert leftovers(world.lake.root) == []
    return content(Path(world.variable["config"]))


@pytest.fixture
def emptied(world, first_day) -> None:
    """A lake that holds an encoder only, as before the first day."""
    shutil.rmtree(world.lake.root)
    shutil.copytree(world.folder / "fresh", world.lake.root)


def is_as(world, wanted: dict[str, str]) -> bool:
    assert leftovers(world.lake.root) == []
    assert content(Path(world.variable["config"])) == wanted
    return True


def test_two_runs_of_a_day_at_once_are_as_one(world, first_day) -> None:
    with Store.open(world.lake.store, read_only=True) as store:
        live = set(store.live_ids())
    for profile in PROFILES:
        assert artifacts.generations(world.lake.index(profile)) == ["g000001"]
        assert set(read_recall(world.lake, profile)["anchor_id"].to_pylist()) == live
    assert artifacts.generations(world.lake.features) == ["g000001"]


def test_a_killed_command_task_and_scheduler_are_got_over(world, service, emptied, first_day) -> None:
    aims = [
        Aim("embed", "command", 0.5),
        Aim("index_same_item", "scheduler", 0.5),
        Aim("recall_same_item", "task", 0.5),
    ]
    run = service.api.trigger(DAILY, partition_key=demo.days(world.folder)[0])
    assert [kill.aim for kill in kills(service, DAILY, run, aims)] == aims
    assert service.api.state(DAILY, run) == "success"
    assert not list(commands(DAILY, run))
    events = service.api.events(DAILY, run)
    assert len(events) == len(set(events))
    assert is_as(world, first_day)


def test_attempts_that_are_superseded_publish_nothing(world, service, emptied, first_day) -> None:
    """One is cleared while it runs; another is stopped, taken over, and wakes up when all is done."""
    run = service.api.trigger(DAILY, partition_key=demo.days(world.folder)[0])
    first = command(run, "index_same_item", 1)
    service.api.clear(DAILY, run, "index_same_item")
    command(run, "index_same_item", 2)
    assert not first.process.is_running()

    stopped = command(run, "features", 1).process
    runner = stopped.parent()
    asleep = [runner.parent(), runner, stopped]  # Airflow's two processes and ours
    for process in asleep:
        process.send_signal(signal.SIGSTOP)
    assert service.api.finish(DAILY, run, PATIENCE) == "success"
    published = content(Path(world.variable["config"]))
    for process in asleep:
        with contextlib.suppress(psutil.NoSuchProcess):  # the later attempt may have ended it
            process.send_signal(signal.SIGCONT)
    psutil.wait_procs([runner, stopped], timeout=60)
    assert not list(commands(DAILY, run))
    assert service.api.states(DAILY, run)["features"] == service.api.state(DAILY, run) == "success"
    assert published == first_day
    assert is_as(world, first_day)


def command(run: str, task: str, attempt: int) -> Command:
    """The command of a task, as soon as it runs."""

    def look() -> Command | None:
        found = (c for c in commands(DAILY, run) if (c.task, c.attempt) == (task, attempt))
        return next(found, None)

    return wait(look, PATIENCE, every=0.1)


def test_an_empty_table_fails_at_once_and_changes_nothing(world, service, first_day) -> None:
    day, table = "2025-12-01", world.variable["tables"]
    schema = pq.read_schema(table.format(day=demo.days(world.folder)[0]))
    pq.write_table(schema.empty_table(), table.format(day=day))
    run = service.api.trigger(DAILY, partition_key=day)
    assert service.api.finish(DAILY, run, PATIENCE) == "failed"
    ingest = next(task for task in service.api.tasks(DAILY, run) if task["task_id"] == "ingest")
    assert (ingest["state"], ingest["try_number"]) == ("failed", 1)
    assert service.api.events(DAILY, run) == []
    assert is_as(world, first_day)


def test_a_week_of_an_operator(world, service, answered) -> None:
    """A late day; labels; a fine-tuning that is rejected, then approved after all; a backfill."""
    api, days = service.api, demo.days(world.folder)
    _, second, third = days
    (replaced,) = world.lake.embedding_roots()  # a day under way may still encode a part for it
    start = time.monotonic()
    demo.deliver(world.folder, third)
    runs = {day: api.trigger(DAILY, partition_key=day) for day in (third, second)}
    conf = {"epochs": 0.2, "products": 40, "name": "shop"}
    tuning = api.trigger(TUNING, conf=conf)
    sheets = api.trigger("review_sheets")
    assert api.finish(DAILY, runs[third], PATIENCE) == "success"
    assert api.states(DAILY, runs[second])["table"] == "deferred", "it waits without a worker"
    demo.deliver(world.folder, second)

    assert api.finish("review_sheets", sheets, PATIENCE) == "success"
    world.lake.inbox.mkdir(parents=True, exist_ok=True)
    dropped = time.time()
    answered(next(world.lake.surveys.glob("same_item/g*/sheet-anna.csv")), world.lake.inbox / "anna.csv")
    labels = wait(lambda: next(iter(api.runs("review_cycle")), None), PATIENCE)["dag_run_id"]
    print(f"labels dropped, a run after {time.time() - dropped:.1f} s")

    before = artifacts.current(world.lake.encoder("tiny"))
    answer(service, tuning, "Reject")
    assert api.finish(TUNING, tuning, PATIENCE) == "success"
    assert {api.states(TUNING, tuning)[task] for task in ("promote", "embed", "go_back")} == {"skipped"}
    assert api.events(TUNING, tuning) == []
    assert artifacts.current(world.lake.encoder("tiny")) == before
    api.clear(TUNING, tuning, "approve")
    answer(service, tuning, "Approve")

    assert api.finish(DAILY, runs[second], PATIENCE) == "success"
    assert api.finish("review_cycle", labels, PATIENCE) in ENDED  # the alert may say that figures have fallen
    assert api.states("review_cycle", labels)["report"] == "success"
    assert api.finish(TUNING, tuning, PATIENCE) == "success"
    assert artifacts.current(world.lake.encoder("tiny")) != before

    with Store.open(world.lake.store, read_only=True) as store:
        state = store.state_hash()
    backfill(service, days[0], third, days=3)
    with Store.open(world.lake.store, read_only=True) as store:
        assert store.state_hash() == state
    assert [left for left in leftovers(world.lake.root) if f"/{replaced.name}/" not in left] == []
    print(f"all of it after {time.monotonic() - start:.0f} s")


def answer(service: Service, run: str, choice: str) -> None:
    """What a person clicks under *Required Actions*, after reading it.

    Airflow 3.3.2 takes a task for failed that goes on before the scheduler has read that it paused.
    """
    waiting = ("awaiting_input", "deferred")
    wait(lambda: service.api.states(TUNING, run)["approve"] in waiting or None, PATIENCE)
    time.sleep(READING)
    path = f"/api/v2/dags/{TUNING}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    service.api.ask("PATCH", path, {"chosen_options": [choice], "params_input": {}})


def backfill(service: Service, first: str, last: str, days: int) -> None:
    """Have days run again without indexes, one after the other, and wait for them."""
    span = {"from_date": f"{first}T00:00:00Z", "to_date": f"{last}T23:59:59Z"}
    wanted = {"dag_id": DAILY, **span, "reprocess_behavior": "completed", "max_active_runs": 1}
    service.api.ask("POST", "/api/v2/backfills", wanted | {"dag_run_conf": {"indexes": False}})

    def made() -> list[str] | None:
        runs = [run for run in service.api.runs(DAILY) if run["run_type"] == "backfill"]
        return [run["dag_run_id"] for run in runs] if len(runs) == days else None

    for run in wait(made, PATIENCE):
        assert service.api.finish(DAILY, run, PATIENCE) == "success"
        assert service.api.states(DAILY, run)["promote"] == "skipped"
