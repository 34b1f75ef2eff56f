"""Every week: verify all checksums, back up the store, remove old generations, compact the store.

If the lake is damaged, the run stops after `verify`, so that no good backup is replaced by a damaged one.
For the cure see *Housekeeping* in docs/operations.md.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, chain

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.command import Mmprod

with DAG(
    "housekeeping",
    schedule=CronTriggerTimetable("0 12 * * SAT", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "catalogue",
        "retries": 1,
        "retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=10),
        "on_failure_callback": failed,
        "pool": "mmprod_lake",
    },
    deadline=within("housekeeping", timedelta(hours=12)),
    tags=["mmprod", "weekly"],
    doc_md=__doc__,
):
    chain(
        Mmprod(task_id="verify", words=["verify"], retries=0),
        Mmprod(task_id="backup", words=["store", "backup", "{{ var.json.mmprod.backups }}", "--wait"]),
        Mmprod(task_id="prune", words=["prune", "--wait"]),
        Mmprod(task_id="compact", words=["store", "compact", "--wait"]),
    )
