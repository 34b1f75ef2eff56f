"""Every week: everything is read and compared with its checksum, the store is copied, what is old goes.

A lake that is damaged stops here, before a sound copy could be replaced by one of damaged data.
What to do then: *Housekeeping* in docs/operations.md.
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
