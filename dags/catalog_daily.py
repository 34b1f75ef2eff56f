"""Every night: the day's product table → store → embeddings → indexes → recall tables, groups, features.

One run is one day (its partition, 2025-03-01). It waits for the day's table, however late, without taking a
worker. Days may be run in any order, again, and as a backfill: the end state is the same. What writes to
the lake takes turns (pool `mmprod_lake`); shards are encoded side by side (pool `mmprod_gpu`).

**When it fails:** exit code 2 in the log is a bad table, nothing was changed: have it corrected and clear
`ingest`. An index that its gate refuses holds `promote` back, and all the old ones serve on. Any task can be
cleared and run again.
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
    max_active_runs=8,  # a late day must not hold up the next ones; writers take turns by their pool
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
            enum=["", "full", "partial"],
            description="full: what isn't listed is gone; empty: as configured",
        ),
        "approve_removals": Param(
            False, type="boolean", description="Allow a day that removes more than the configured share."
        ),
        "approve_day": Param(
            False, type="boolean", description="Allow a day further ahead of the clock than store.days_ahead."
        ),
        "indexes": Param(
            True, type="boolean", description="Also make indexes and what follows; off for a long backfill."
        ),
    },
    deadline=within("catalog_daily", timedelta(hours=8)),
    tags=["mmprod", "daily"],
    doc_md=__doc__,
):
    table = DayTable(task_id="table", day=DAY, patience=timedelta(hours=20), pool="default_pool", retries=1)
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
        words=["promote", "--wait", *(f"--profile={name}" for name in PROFILES)],
        outlets=list(INDEX.values()),
    )
    groups = Mmprod(task_id="groups", words=["groups", "--wait"], outlets=[GROUPS])
    features = Mmprod(task_id="features", words=["features", "--wait"], outlets=[FEATURES])

    ingest >> store
    embed >> (wanted := indexes())
    for name in PROFILES:
        words = ["index", "--wait", "--hold", "--profile", name]
        wanted >> Mmprod(task_id=f"index_{name}", words=words, retries=1) >> promote
        words = ["recall", "--wait", "--profile", name]
        promote >> Mmprod(task_id=f"recall_{name}", words=words, outlets=[RECALL[name]]) >> groups
    groups >> features
