"""Reviewed accuracy: sheets are written every week; label files are collected and evaluated on arrival.

`review_sheets` draws pairs that nobody has judged and writes a sheet for each reviewer, every Monday.
`review_cycle` starts within seconds after a label file arrives in the lake's inbox: it collects every
complete file (claimed by renaming, never deleted), computes the figures and writes the report. `alert` fails
if a figure has fallen, by the rules in `review.alerts`.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.assets import EVALUATION, INBOX, JUDGEMENTS, SHEETS
from mmprod.airflow.command import Mmprod

common = {
    "owner": "review",
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "execution_timeout": timedelta(hours=1),
    "on_failure_callback": failed,
    "pool": "mmprod_review",
}

with DAG(
    "review_sheets",
    schedule=CronTriggerTimetable("0 5 * * MON", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=common,
    deadline=within("review_sheets", timedelta(hours=2)),
    tags=["mmprod", "weekly", "review"],
    doc_md=__doc__,
):
    Mmprod(task_id="sample", words=["review", "sample", "--wait"], outlets=[SHEETS])

with DAG(
    "review_cycle",
    schedule=[INBOX],
    catchup=False,
    max_active_runs=1,
    default_args=common,
    deadline=within("review_cycle", timedelta(hours=1)),
    tags=["mmprod", "event", "review"],
    doc_md=__doc__,
):
    collect = Mmprod(task_id="collect", words=["review", "collect", "--wait"], outlets=[JUDGEMENTS])
    report = Mmprod(task_id="report", words=["evaluate", "survey", "--wait"], outlets=[EVALUATION])
    alert = Mmprod(task_id="alert", words=["evaluate", "survey", "--wait", "--strict"], retries=0)
    collect >> report >> alert
