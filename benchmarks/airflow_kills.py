"""Kills at every stage of scheduled runs, day after day; then everything is compared with undisturbed runs.

    python benchmarks/airflow_kills.py [--trials 20] [--victims command task scheduler]
                                       [--stages ingest store …] [--folder DIR] [--seed 0]

A real Airflow (`make test-airflow` makes its environment) runs `catalog_daily` for the three days of a small
demo, first undisturbed, then again and again from an empty lake. While a stage's command runs, at a random
moment of the time that it takes (late ones more often: at first it only loads libraries), `kill -9` ends the
command, or the process that runs the task, or the scheduler; one kill a stage in each run. Airflow's
time-outs and delays are cut to seconds (kills/service.py), the DAG is else as it stands.

After each run: it has succeeded; store, rows of the embedding table, ids and vectors of each index, recall
tables, groups, features and change logs are those of the undisturbed run; as many generations and as many
events of assets; no draft, no temporary file, no part left; no command of the run lives on.

Exit code 1 where one of this is not so.
"""

import argparse
import contextlib
import itertools
import math
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from kills.api import wait
from kills.content import content, leftovers
from kills.service import Service, quick_dags, running
from kills.victims import VICTIMS, Aim, Kill, commands, kills, looks
from load.tables import show

from mmprod.airflow import demo

DAG = "catalog_daily"
MOST_RUNS = 3  # as many times more runs than trials, where commands end before their kill


@dataclass
class Run:
    """A finished run of a day: its kills, seconds until each was got over (NaN: never), what is wrong."""

    day: str
    kills: list[Kill]
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Demo:
    """The world that runs happen in, and what they must come to."""

    folder: Path
    lake: Path
    service: Service
    events: dict[str, list[str]] = field(default_factory=dict)  # by day, of an undisturbed run
    contents: dict[str, dict[str, str]] = field(default_factory=dict)
    spans: dict[str, float] = field(default_factory=dict)  # seconds that a stage's command takes

    def begin(self) -> None:
        """Back to the lake that holds an encoder only."""
        shutil.rmtree(self.lake)
        shutil.copytree(self.folder / "fresh", self.lake)

    def learn(self, days: Sequence[str]) -> None:
        """Run each day undisturbed, and keep what it comes to."""
        self.begin()
        for day in days:
            run = self.service.api.trigger(DAG, partition_key=day)
            for stage, seconds in watched(self.service, run).items():
                self.spans[stage] = min(seconds, self.spans.get(stage, seconds))
            if (state := self.service.api.state(DAG, run)) != "success":
                sys.exit(f"the undisturbed run of {day} ended as {state}")
            self.events[day] = self.service.api.events(DAG, run)
            self.contents[day] = content(self.folder / "mmprod.toml")

    def disturb(self, day: str, kind: str, stages: Sequence[str], rng: random.Random) -> Run:
        """Run a day with kills, and look at what it came to."""
        spans = ((stage, self.spans[stage]) for stage in stages)
        aims = [Aim(stage, kind, rng.triangular(0, span, span)) for stage, span in spans]
        run_id = self.service.api.trigger(DAG, partition_key=day)
        run = Run(day, list(kills(self.service, DAG, run_id, aims)))
        hit = {kill.aim for kill in run.kills}
        self.spans |= {aim.task: aim.seconds for aim in aims if aim not in hit}  # it takes less than thought
        self.judge(run, run_id)
        return run

    def judge(self, run: Run, run_id: str) -> None:
        """Fill in what is wrong with a run, and how long its tasks took after their kills."""
        api = self.service.api
        told, tasks = api.run(DAG, run_id), api.tasks(DAG, run_id)
        if told["state"] != "success":
            run.problems.append(f"{run_id} is {told['state']}")
            run.seconds = [math.nan] * len(run.kills)
            return
        run.seconds = [_recovery(kill, tasks, told["end_date"]) for kill in run.kills]
        try:
            wait(lambda: None if list(commands(DAG, run_id)) else True, 20)
        except TimeoutError:
            run.problems.append("commands live on")
        if (events := api.events(DAG, run_id)) != self.events[run.day]:
            run.problems.append(f"events: {_difference(events, self.events[run.day])}")
        now, wanted = content(self.folder / "mmprod.toml"), self.contents[run.day]
        run.problems += [f"{part} differs" for part in wanted | now if now.get(part) != wanted.get(part)]
        run.problems += [f"{name} is left" for name in leftovers(self.lake)]


def _recovery(kill: Kill, tasks: Sequence[Mapping[str, Any]], ended: str) -> float:
    """Seconds from a kill until its task was done; from that of a scheduler, until the run went on."""
    if kill.aim.victim == "scheduler":
        moments = [*(task["start_date"] for task in tasks), ended]
    else:
        killed = (kill.aim.task, kill.part)
        moments = [task["end_date"] for task in tasks if (task["task_id"], task["map_index"]) == killed]
    after = (datetime.fromisoformat(moment).timestamp() - kill.at for moment in moments)
    return min((seconds for seconds in after if seconds > 0), default=0.0)


def _difference(found: list[str], wanted: list[str]) -> str:
    more, less = Counter(found) - Counter(wanted), Counter(wanted) - Counter(found)
    return ", ".join([*(f"+{name}" for name in more.elements()), *(f"-{name}" for name in less.elements())])


def watched(service: Service, run: str) -> dict[str, float]:
    """How long each stage's command takes, in seconds, in a run that is left alone."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for found in looks(service, DAG, run):
        for command in found:
            if command.part <= 0:
                last[command.task] = time.monotonic()
                first.setdefault(command.task, last[command.task])
    return {stage: last[stage] - first[stage] for stage in first}


def rounds(shop: Demo, kind: str, stages: Sequence[str], trials: int, rng: random.Random) -> Iterator[Run]:
    """Runs of day after day until each stage has had so many kills; from an empty lake after a bad one."""
    done: Counter[str] = Counter()
    days = itertools.cycle(shop.contents)
    for _ in range(trials * MOST_RUNS):
        if (day := next(days)) == next(iter(shop.contents)):
            shop.begin()
        run = shop.disturb(day, kind, stages, rng)
        done.update(kill.aim.task for kill in run.kills)
        yield run
        if min(done[stage] for stage in stages) >= trials:
            return
        if run.problems:
            days = itertools.cycle(shop.contents)


def tell(runs: Sequence[Run]) -> None:
    """A row for each stage and victim."""
    found: dict[tuple[str, str], list[tuple[Run, float]]] = defaultdict(list)
    for run in runs:
        for kill, seconds in zip(run.kills, run.seconds, strict=True):
            found[kill.aim.victim, kill.aim.task].append((run, seconds))

    def row(victim: str, stage: str) -> list[object]:
        mine = found[victim, stage]
        seconds = [one for _, one in mine if not math.isnan(one)] or [math.nan]
        equal = sum(not run.problems for run, _ in mine)
        done = sum(not math.isnan(one) for _, one in mine)
        return [victim, stage, len(mine), done, equal, statistics.median(seconds), max(seconds)]

    headings = ["killed", "while", "kills", "recovered", "equal", "seconds: median", "worst"]
    show(headings, itertools.starmap(row, found))


@contextlib.contextmanager
def world(folder: Path, products: int) -> Iterator[Demo]:
    """The demo in `folder`, with an Airflow that has run its days undisturbed."""
    command = Path(sys.executable).parent / "mmprod"
    lake = Path(demo.make(folder, command, products)["lake"])
    if not (folder / "fresh").exists():
        shutil.copytree(lake, folder / "fresh")
    for day in demo.days(folder):
        demo.deliver(folder, day)
    with running(folder, quick_dags(folder / "dags", DAG), command) as service:
        service.api.unpause(DAG)
        made = Demo(folder, lake, service)
        made.learn(demo.days(folder))
        yield made


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=2, help="kills of each stage by each victim")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--stages", nargs="+", help="tasks of the DAG; without it all that run a command")
    parser.add_argument("--folder", type=Path, help="where all state lies, and stays")
    parser.add_argument("--products", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, start = random.Random(given.seed), time.monotonic()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as last:
        last.callback(tell, runs)  # also of what went before a run that hangs
        shop = last.enter_context(world((given.folder or Path(scratch)).resolve(), given.products))
        for kind in given.victims:
            for run in rounds(shop, kind, given.stages or list(shop.spans), given.trials, rng):
                runs.append(run)
                said = f"{kind}: {len(run.kills)} kills, {'; '.join(run.problems) or 'as undisturbed'}"
                print(f"{time.monotonic() - start:6.0f} s  {run.day}  {said}", file=sys.stderr)
    return 1 if any(run.problems for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
