"""Every night: the day's product table → store → embeddings → indexes → recall tables.

One run is one day (its partition, 2025-03-01). It waits for the day's table, however late, without taking a
worker. Days may be run in any order, again, and as a backfill: the end state is the same. Stages that write to
the lake take turns (pool `mmprod_lake`); encoding also takes a slot of `mmprod_gpu`.

**It failed:** exit code 2 in the log is a bad table: nothing was changed; have it corrected, then clear `ingest`.
A refused index leaves the old one serving: see *When an index does not pass its gate* in docs/operations.md.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronPartitionTimetable, Param

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.arrivals import DayTable
from mmprod.airflow.assets import EMBEDDINGS, INDEX, RECALL, STORE
from mmprod.airflow.command import Mmprod

DAY = "{{ dag_run.partition_key or ds }}"

with DAG(
    "catalog_daily",
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", key_format="%Y-%m-%d"),
    catchup=False,
    max_active_runs=8,  # a late day must not hold up the next; writers take turns by their pool
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
            description="full: what is not listed is gone. Empty: as configured.",
        ),
        "approve_removals": Param(
            False, type="boolean", description="Allow a day that removes more than the configured share."
        ),
    },
    deadline=within("catalog_daily", timedelta(hours=8)),
    tags=["mmprod", "daily"],
    doc_md=__doc__,
) as dag:
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
    embed = Mmprod(task_id="embed", words=["embed", "--wait"], outlets=[EMBEDDINGS])
    index = Mmprod(task_id="index", words=["index", "--wait"], outlets=list(INDEX.values()))
    ingest >> embed >> index
    for name, asset in RECALL.items():
        index >> Mmprod(
            task_id=f"recall_{name}", words=["recall", "--wait", "--profile", name], outlets=[asset]
        )
