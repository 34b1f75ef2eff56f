"""Whenever new indexes are in use: a release of them for the online service, and the service goes over to it.

The release holds an engine of the indexes' encoder, exported where it is missing, and is made only if it
answers as it should. The service loads it beside the old one, asks its questions, and switches without a gap.

Leave it off where nobody asks online. `reload` is for a worker on the service's machine; where the service
runs in containers, take it out, and let what rolls the service out wait for the asset `mmprod_release`.
"""

from datetime import timedelta

from airflow.sdk import DAG

from mmprod.airflow.alerts import failed, within
from mmprod.airflow.assets import INDEX, RELEASE
from mmprod.airflow.command import Mmprod

with DAG(
    "online_release",
    schedule=list(INDEX.values()),
    max_active_runs=1,
    default_args={
        "owner": "serving",
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=2),
        "on_failure_callback": failed,
    },
    deadline=within("online_release", timedelta(hours=4)),
    tags=["mmprod", "daily", "online"],
    doc_md=__doc__,
):
    release = Mmprod(
        task_id="release", words=["release", "--export", "--wait"], pool="mmprod_lake", outlets=[RELEASE]
    )
    release >> Mmprod(task_id="reload", words=["triton", "reload"], pool="default_pool")
