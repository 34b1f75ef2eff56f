"""Every night: the day's product table → store → embeddings → indexes → recall tables, groups, features.

One run is one day (its partition, 2025-03-01). It waits for the day's table, however late, without taking a
worker. Days may be run in any order, again, and as a backfill: the end state is the same. What writes to
the lake takes turns (pool `mmprod_lake`); shards are encoded side by side (pool `mmprod_gpu`).

**When it fails:** exit code 2 in the log is a bad table, nothing was changed: have it corrected and clear
`ingest`. An index that is refused leaves the old one serving. Any task can be cleared and run again.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronPartitionTimetable, Param, task

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.arrivals import DayTable
from mmprod.airflow.assets import EMBEDDINGS, FEATURES, GROUPS, INDEX, RECALL, STORE
from mmprod.airflow.command import Mmprod

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
    },
    deadline=within("catalog_daily", timedelta(hours=8)),
    tags=["mmprod", "daily"],
    doc_md=__doc__,
):
    table = DayTable(task_id="table", day=DAY, patience=timedelta(hours=20), pool="default_pool", retries=0)
    ingest = Mmprod(
        task_id="ingest",
        words=[
            *("ingest", "--wait", "--day", DAY, "--table", table.output),
            "{{ '--snapshot=' ~ params.snapshot if params.snapshot }}",
            "{{ '--approve-removals' if params.approve_removals }}",
        ],
        outlets=[STORE],
    )
    store = Mmprod(task_id="store", words=["store", "stats"], pool="default_pool")

    @task(pool="default_pool")
    def shards(stats: dict[str, int]) -> list[list[str]]:
        return [["embed", "--wait", "--shard", str(number)] for number in range(stats["shards"])]

    encode = Mmprod.partial(task_id="encode", pool="mmprod_gpu").expand(words=shards(store.output))
    embed = Mmprod(task_id="embed", words=["embed", "--wait"], outlets=[EMBEDDINGS])
    index = Mmprod(task_id="index", words=["index", "--wait"], outlets=list(INDEX.values()), retries=1)
    groups = Mmprod(task_id="groups", words=["groups", "--wait"], outlets=[GROUPS])
    features = Mmprod(task_id="features", words=["features", "--wait"], outlets=[FEATURES])

    ingest >> store
    encode >> embed >> index
    for profile, asset in RECALL.items():
        words = ["recall", "--wait", "--profile", profile]
        index >> Mmprod(task_id=f"recall_{profile}", words=words, outlets=[asset]) >> groups
    groups >> features
