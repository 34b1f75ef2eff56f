"""Every night: the day's product table → store → embeddings → indexes → recall tables, groups, features.

One run is one day (its partition, e.g. 2025-03-01). It waits for the day's table without occupying a worker.
Days may be run in any order, repeatedly, and as a backfill: the end state is the same. Tasks that write to
the lake run one at a time (pool `mmprod_lake`); shards are encoded in parallel (pool `mmprod_gpu`).

**If it fails:** exit code 2 in the log means a bad table, and nothing was changed: have the table corrected
and clear `ingest`. If a gate refuses an index, `promote` does not run and all the old indexes stay in use.
Any task can be cleared and run again.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronPartitionTimetable, Param, task

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.arrivals import DayTable
from mmprod.airflow.assets import EMBEDDINGS, FEATURES, GROUPS, INDEX, PROFILES, RECALL, STORE
from mmprod.airflow.command import Mmprod
from mmprod.airflow.embedding import embedding

DAY = "{{ dag_run.partition_key or ds }}"

with DAG(
    "catalog_daily",
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", key_format="%Y-%m-%d"),
    catchup=False,
    max_active_runs=8,  # a late day must not block the next ones; the pool serialises writers
    default_args={
        "owner": "catalogue",
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        "execution_timeout": timedelta(hours=6),
        "on_failure_callback": failed,
        "pool": "mmprod_lake",
    },
    params={
        "snapshot": Param(
            "",
            enum=["", "full", "partial", "changes"],
            description="full: products not listed are removed; empty: as configured",
        ),
        "approve_removals": Param(
            False, type="boolean", description="Allow a day that removes more than the configured share."
        ),
        "approve_day": Param(
            False, type="boolean", description="Allow a day further ahead of the clock than store.days_ahead."
        ),
        "indexes": Param(
            True,
            type="boolean",
            description="Also build indexes and what depends on them; off for a long backfill.",
        ),
    },
    deadline=within("catalog_daily", timedelta(hours=8)),
    tags=["mmprod", "daily"],
    doc_md=__doc__,
):
    table = DayTable(task_id="table", day=DAY, timeout=timedelta(hours=20), pool="default_pool", retries=1)
    ingest = Mmprod(
        task_id="ingest",
        words=[
            *("ingest", "--wait", "--day", DAY, "--table", table.output),
            "{{ '--snapshot=' ~ params.snapshot if params.snapshot }}",
            "{{ '--approve-removals' if params.approve_removals }}",
            "{{ '--approve-day' if params.approve_day }}",
        ],
        outlets=[STORE],
    )
    store, embed = embedding([EMBEDDINGS])

    @task.short_circuit(pool="default_pool")
    def indexes(params: dict[str, bool]) -> bool:
        return params["indexes"]

    promote = Mmprod(
        task_id="promote",
        words=["index", "promote", "--wait", *(f"--profile={name}" for name in PROFILES)],
        outlets=list(INDEX.values()),
    )
    groups = Mmprod(task_id="groups", words=["groups", "build", "--wait"], outlets=[GROUPS])
    features = Mmprod(task_id="features", words=["features", "build", "--wait"], outlets=[FEATURES])

    ingest >> store
    embed >> (wanted := indexes())
    for name in PROFILES:
        words = ["index", "build", "--wait", "--hold", "--profile", name]
        wanted >> Mmprod(task_id=f"index_{name}", words=words, retries=1) >> promote
        words = ["recall", "build", "--wait", "--profile", name]
        promote >> Mmprod(task_id=f"recall_{name}", words=words, outlets=[RECALL[name]]) >> groups
    groups >> features
