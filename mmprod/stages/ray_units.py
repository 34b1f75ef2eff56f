"""Units of a plan as tasks on a Ray cluster; this runs in the cluster, as the driver of a Ray job.

Tasks, not a pool of actors or Ray Data: the cluster may grow and shrink, a unit is independent of all others,
and what a task makes is a file. Ray repeats the tasks of a lost node on another one; a unit that has its part
is not encoded again.
"""

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mmprod.datasets import threads
from mmprod.datasets.embeddings.units import Plan, Unit, the_plan
from mmprod.datasets.lazy import lazy
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.unit_encoding import OvertakenError, Worker, left, open_worker, raise_refused
from mmprod.stages.outcome import Outcome, Progress, no_progress, timed
from mmprod.storage.errors import StateError
from mmprod.storage.shared_folder import open_folder

ray = lazy("ray")  # optional
log = logging.getLogger(__name__)


def encode_on_cluster(
    lake: Lake, config: Config, address: str, candidate: str | None = None, progress: Progress = no_progress
) -> Outcome:
    """Encode the units of the plan in the folder at `address` that have no part, each as a task.

    A task reserves `ray.cpus`, `ray.gpus` and `ray.resources`, and is started `ray.attempts` times at most if
    its node or process is lost. Raises: StateError, after all others are encoded, for units that are damaged
    or were lost too often.
    """
    plan = the_plan(folder := open_folder(address))
    with timed("encode") as outcome:
        units = left(plan, folder)
        advance = progress("encode", sum(unit.rows for unit in units))
        refused = _follow(_submitted(lake, config, address, candidate, units), config, outcome, advance)
        outcome.reused = sum(unit.rows for unit in plan.units) - sum(unit.rows for unit in units)
    raise_refused(plan, refused)
    return outcome


def _submitted(
    lake: Lake, config: Config, address: str, candidate: str | None, units: list[Unit]
) -> dict[Any, Unit]:
    """A task for each unit, by what Ray returns for it."""
    section = config.ray
    ray.init(ignore_reinit_error=True)
    task = ray.remote(
        num_cpus=section.cpus,
        num_gpus=section.gpus,
        resources=section.resources,
        max_retries=section.attempts - 1,
        max_calls=0,  # by default Ray ends a process that has used a GPU after every task
    )(_encode)
    given = lake, config.model_dump_json(), address, candidate
    return {task.remote(*given, unit): unit for unit in units}


def _follow(running: dict[Any, Unit], config: Config, outcome: Outcome, advance: Any) -> dict[str, str]:
    """Wait for all tasks, adding up their counts; returns why units could not be encoded, by name."""
    refused = dict[str, str]()
    while running:
        [done], _ = ray.wait(list(running), num_returns=1)
        unit = running.pop(done)
        try:
            _add(outcome, ray.get(done))
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, StateError):
                raise error.cause from error
            refused[unit.name] = str(error.cause)
        except ray.exceptions.RayError as error:
            refused[unit.name] = f"unit {unit.file} was lost {config.ray.attempts} times: {error}"
        if unit.name in refused:
            log.error("%s; the other units go on", refused[unit.name])
        advance(unit.rows, outcome.waits)
    return refused


def _add(outcome: Outcome, more: Outcome) -> None:
    for name in ("rows", "changed", "refused"):
        setattr(outcome, name, getattr(outcome, name) + getattr(more, name))
    outcome.detail = _sum(outcome.detail, more.detail)
    outcome.spent = _sum(outcome.spent, more.spent)


def _sum(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in {**a, **b}}


def _encode(lake: Lake, config: str, address: str, candidate: str | None, unit: Unit) -> Outcome:
    """A task: encode one unit, unless it has its part. Returns the counts."""
    outcome = Outcome("encode")
    worker = _worker(lake, config, address, candidate, the_plan(open_folder(address)))
    if unit.part not in worker.folder.modified():
        worker.folder.mark(unit.begun)
        try:
            worker.encode(unit, outcome)
        except OvertakenError:
            return Outcome("encode")
    return outcome


@lru_cache(1)
def _worker(lake: Lake, config: str, address: str, candidate: str | None, plan: Plan) -> Worker:
    """This process's worker for a plan; `config` as JSON. The encoder is loaded once."""
    settings = Config.model_validate_json(config)
    threads.limit(settings.thread_count)  # Ray has set OMP_NUM_THREADS to the task's share
    return open_worker(lake, settings, open_folder(address), plan, candidate)
