"""Every month: trigger a fine-tuning with the default parameters. Switch this DAG on only if you want that.

It triggers `encoder_finetune`, which trains and compares, and puts nothing in use without a person's
approval.
"""

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronTriggerTimetable

from mmprod.airflow.alerts import failed

with DAG(
    "encoder_monthly",
    schedule=CronTriggerTimetable("0 8 1 * *", timezone="UTC"),
    catchup=False,
    default_args={
        "owner": "models",
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "on_failure_callback": failed,
    },
    tags=["mmprod", "monthly", "encoder"],
    doc_md=__doc__,
):
    TriggerDagRunOperator(task_id="finetune", trigger_dag_id="encoder_finetune", conf={"name": "monthly"})
