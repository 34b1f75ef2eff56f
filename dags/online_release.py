"""Whenever new indexes are in use: build a release from them, and switch the online service to it.

The release contains an engine of the indexes' encoder, which is exported if it is missing. It is published
only if it passes its tests. The service loads it beside the old one, checks its answers to the canaries, and
then switches without interruption.

Leave this DAG off if you don't use the online service. `reload` needs a worker on the service's machine; if
the service runs in containers, remove `reload` and let your deployment wait for the asset `mmprod_release`.
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
        task_id="release",
        words=["release", "build", "--export", "--wait"],
        pool="mmprod_lake",
        outlets=[RELEASE],
    )
    release >> Mmprod(task_id="reload", words=["triton", "reload"], pool="default_pool")
