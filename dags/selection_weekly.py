"""Every week: update the selection encoder's vectors and index, and run the saved searches on it.

Selection uses pictures only and may have its own encoder and configuration (`selection` in the Airflow
variable), which names the categories to select from (`encoder.categories`). Only what has changed since last
week is encoded. `searches` counts the new results, and writes all results to a list.
"""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.assets import FOUND, SELECTION
from mmprod.airflow.command import Mmprod
from mmprod.airflow.embedding import embedding

LIST = """{% if var.json.mmprod.lists %}
--out={{ var.json.mmprod.lists }}/found-{{ dag_run.run_after.date() }}.xlsx
{% endif %}"""

with DAG(
    "selection_weekly",
    schedule=CronTriggerTimetable("0 6 * * SUN", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "selection",
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=1),
        "execution_timeout": timedelta(hours=20),
        "on_failure_callback": failed,
        "pool": "mmprod_lake",
        "config": "selection",
    },
    deadline=within("selection_weekly", timedelta(hours=24)),
    tags=["mmprod", "weekly"],
    doc_md=__doc__,
):
    store, embed = embedding()
    index = Mmprod(
        task_id="index", words=["index", "build", "--wait", "--profile", "selection"], outlets=[SELECTION]
    )
    searches = Mmprod(
        task_id="searches",
        words=["searches", "run", "{{ var.json.mmprod.texts }}", "--wait", LIST],
        outlets=[FOUND],
    )
    embed >> index >> searches
