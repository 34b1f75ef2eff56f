"""Runs in Airflow's environment, asked by the tests: what the DAGs are, and one run of one of them.

    parse()              CPU seconds that importing each DAG file took, and heavy modules it needs
    structure()          tasks, order, schedule, pools, retries and assets of each DAG
    shares(DAG)          the threads that each of its commands is given
    create()             Airflow's database
    run(DAG, DAY, CONF)  `dag.test()`; the state of each task, and of the run
    runs(DAG)            the states of its runs

Each in a child of a process: `parse` of a new one, `structure` and `shares` of one that has called `bag`, the
rest of one that has called `warm`.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DAGS = Path(__file__).parents[2] / "dags"
HEAVY = ("torch", "pyarrow", "numpy", "pandas", "lance", "faiss", "open_clip", "transformers")


def warm() -> None:
    """Import and build what each `dag.test()` needs, which takes it longer than a small DAG's tasks."""
    import airflow.dag_processing.dagbag
    import airflow.models.taskinstance
    import airflow.providers.openlineage.plugins.listener  # noqa: F401
    from sqlalchemy.orm import configure_mappers

    configure_mappers()
    assert asyncio.run(_first_answer()) == 200


async def _first_answer() -> int:
    """The API server builds its routes with it, for seconds, and starts no thread for this one."""
    import httpx
    from airflow.sdk.execution_time.supervisor import in_process_api_server

    transport = in_process_api_server().atransport
    async with httpx.AsyncClient(transport=transport, base_url="http://in-process") as client:
        return (await client.get("/health")).status_code


def parse() -> dict[str, Any]:
    import importlib.util

    import airflow.sdk  # noqa: F401  the DAG processor has it in memory before it forks for a file

    seconds = {}
    for path in sorted(DAGS.glob("*.py")):
        start = time.process_time()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        seconds[path.name] = time.process_time() - start
    return {"seconds": seconds, "heavy": [name for name in HEAVY if name in sys.modules]}


def bag() -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(str(DAGS))
    if found.import_errors:
        raise SystemExit(str(found.import_errors))
    return found.dags


def structure() -> dict[str, Any]:
    return {name: _dag(dag) for name, dag in sorted(bag().items())}


def _dag(dag: Any) -> dict[str, Any]:
    return {
        "schedule": dag.timetable.summary
        if hasattr(dag.timetable, "summary")
        else type(dag.timetable).__name__,
        "tags": sorted(dag.tags),
        "documented": bool(dag.doc_md),
        "params": {name: dag.params.get_param(name).schema for name in dag.params},
        "tasks": {task.task_id: _task(task) for task in dag.topological_sort()},
    }


def _task(task: Any) -> dict[str, Any]:
    return {
        "after": sorted(task.upstream_task_ids),
        "pool": task.pool,
        "retries": task.retries,
        "owner": task.owner,
        "outlets": [asset.name for asset in getattr(task, "outlets", ()) or ()],
    }


def shares(dag_id: str) -> dict[str, str]:
    """The threads that each command of a DAG is given, by its task."""
    from mmprod.airflow.command import Mmprod
    from mmprod.airflow.settings import Settings

    settings, tasks = Settings("mmprod", "", "", "{day}", "", encoding=2), bag()[dag_id].tasks
    return {
        task.task_id: Mmprod(task_id="t", words=[], pool=task.pool).share(settings)["OMP_NUM_THREADS"]
        for task in tasks
        if task.pool.startswith("mmprod_")
    }


def create() -> None:
    from airflow.utils.db import initdb

    initdb()


def run(dag_id: str, day: str, conf: dict[str, Any]) -> dict[str, Any]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    dag = bag()[dag_id]
    dag.deadline = None  # Airflow 3.3.2's dag.test() ends with an error where there is one
    if dag.has_task("table"):
        dag.get_task("table").stable_seconds = 0.2  # seconds; what arrives here is whole
    found = dag.test(
        logical_date=datetime.fromisoformat(day).replace(tzinfo=UTC),
        run_conf=conf,
        mark_success_pattern="^approve$",
    )
    with create_session() as session:
        of_run = TaskInstance.dag_id == dag_id, TaskInstance.run_id == found.run_id
        rows = session.execute(
            select(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state).where(*of_run)
        ).all()
    tasks = {f"{name}{'' if number < 0 else number}": str(state) for name, number, state in rows}
    return {"state": str(found.state), "tasks": tasks}


def runs(dag_id: str) -> list[str]:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [str(state) for state in session.scalars(select(DagRun.state).where(DagRun.dag_id == dag_id))]
