"""Kills of what scheduled runs consist of: a task's `mmprod` command, what runs the task, the scheduler."""

import contextlib
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import psutil
from kills.api import ENDED
from kills.service import Service

VICTIMS = ("command", "task", "scheduler")
LOOK = 0.05  # seconds between looks at the processes
PATIENCE = 900.0  # seconds for a run; one that takes longer hangs
_RUN = "MMPROD_RUN"  # tells a command its work and attempt: DAG/run/task/part:try


@dataclass(frozen=True)
class Command:
    """A running `mmprod` command of a task; `part` of a mapped one, else -1."""

    process: psutil.Process
    task: str
    part: int
    attempt: int


@dataclass(frozen=True)
class Aim:
    """What to kill, so many seconds after the first command of a task was seen."""

    task: str
    victim: str
    seconds: float


@dataclass(frozen=True)
class Kill:
    """An aim that was hit: in which part of a mapped task (else -1), and when (epoch seconds)."""

    aim: Aim
    part: int
    at: float


def commands(dag: str, run: str) -> Iterator[Command]:
    """The commands of a run's tasks that run now; not the processes they started."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "mmprod" and (named := _named(process)).startswith(f"{dag}/{run}/"):
            work, _, attempt = named.rpartition(":")
            *_, task, part = work.split("/")
            yield Command(process, task, int(part), int(attempt))


def _named(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.environ().get(_RUN, ""))
    return ""


def looks(service: Service, dag: str, run: str) -> Iterator[list[Command]]:
    """The commands that run now, again and again until the run has ended. Raises: TimeoutError."""
    end, asked = time.monotonic() + PATIENCE, 0.0
    while time.monotonic() < end:
        yield list(commands(dag, run))
        if time.monotonic() - asked > 1:
            if service.api.state(dag, run) in ENDED:
                return
            asked = time.monotonic()
        time.sleep(LOOK)
    raise TimeoutError(f"{run} has not ended after {PATIENCE:.0f} s")


def kills(service: Service, dag: str, run: str, aims: Collection[Aim]) -> Iterator[Kill]:
    """Kill at each aim, one of a task at most, until the run has ended.

    What has ended before its moment, or is tried for a second time, is left alone.
    """
    due = {aim.task: aim for aim in aims}
    seen: dict[str, tuple[float, int]] = {}  # task → when first, and which part
    for found in looks(service, dag, run):
        for command in found:
            if command.task not in due or command.attempt > 1:
                continue
            aim = due[command.task]
            first, part = seen.setdefault(command.task, (time.monotonic(), command.part))
            if command.part != part or time.monotonic() < first + aim.seconds:
                continue
            if _kill(victim(aim.victim, command, service)):
                del due[command.task]
                yield Kill(aim, part, time.time())
    _end_idle(service)


def _end_idle(service: Service) -> None:
    """End the workers that a killed scheduler has left behind: they would wait for it for ever."""
    for process in psutil.Process(service.pid).children():
        with contextlib.suppress(psutil.Error):
            if "<idle>" in " ".join(process.cmdline()):
                process.kill()


def _kill(process: psutil.Process | None) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        if process:
            process.kill()
            return True
    return False


def victim(kind: str, command: Command, service: Service) -> psutil.Process | None:
    """The process to kill: the command's own, the one that runs its task, or the scheduler.

    None when it has ended in the meantime.
    """
    if kind == "command":
        return command.process
    return runner(command, service) if kind == "task" else scheduler(service)


def runner(command: Command, service: Service) -> psutil.Process | None:
    """Airflow's process that runs a command's task; None when it has ended and left an orphan."""
    with contextlib.suppress(psutil.Error):
        parent = command.process.parent()
        return parent if parent and parent.pid != service.pid else None
    return None


def scheduler(service: Service) -> psutil.Process | None:
    """The scheduler's own process, not those that it started."""
    for process in psutil.Process(service.pid).children():
        with contextlib.suppress(psutil.Error):
            if "scheduler" in process.cmdline():
                return process
    return None
