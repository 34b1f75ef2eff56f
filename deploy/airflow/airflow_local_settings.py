"""Where tasks run, by their pool: the Celery queue they wait in, and what their Kubernetes pod asks for.

DAG files name pools only. Airflow finds this file by its name, in its folder `config`.
"""

from dataclasses import dataclass
from typing import Any

from airflow.configuration import conf


@dataclass(frozen=True)
class Place:
    """A kind of machine: the `queue` its workers serve is also its nodes' label `mmprod`."""

    queue: str
    cpus: str
    memory: str
    gpus: int = 0


# For the machines of docs/sizing.md, one lake of 100 million products.
PLACES = {
    "default_pool": Place("lake", cpus="1", memory="4Gi"),
    "mmprod_lake": Place("lake", cpus="56", memory="440Gi"),
    "mmprod_review": Place("lake", cpus="4", memory="16Gi"),
    "mmprod_gpu": Place("gpu", cpus="14", memory="56Gi", gpus=1),
}


def task_instance_mutation_hook(task_instance: Any, dag_run: Any) -> None:
    """Called by Airflow's scheduler for each task instance before it is queued."""
    place = PLACES.get(task_instance.pool, PLACES["default_pool"])
    task_instance.queue = place.queue
    if conf.get("core", "executor") == "KubernetesExecutor":
        task_instance.executor_config = {"pod_override": _pod(place)}


def _pod(place: Place) -> Any:
    """What differs from the chart's pod template, which it is merged with."""
    from kubernetes.client import models  # takes a second, and only the scheduler needs it

    wanted = {"cpu": place.cpus, "memory": place.memory}
    gpus = {"nvidia.com/gpu": str(place.gpus)} if place.gpus else {}
    limits = {"memory": place.memory, **gpus}
    resources = models.V1ResourceRequirements(requests=wanted | gpus, limits=limits)
    return models.V1Pod(
        spec=models.V1PodSpec(
            containers=[models.V1Container(name="base", resources=resources)],
            node_selector={"mmprod": place.queue},
        )
    )
