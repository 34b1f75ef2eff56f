"""Kill -9 while a Ray cluster works for us; then all has to be as if nothing had happened.

    python benchmarks/ray_kills.py [--trials 20] [--works shard finetune] [--victims command job node head]
                                   [--products 500] [--seed 0]

Starts a real cluster on this machine (a head that runs no jobs, two worker nodes) and has work done on it:

shard     `mmprod embed --shard 0`, in parts of a few products
finetune  `mmprod finetune`, with a checkpoint every few steps

After a random part or checkpoint is killed, in turn:

command  `mmprod` that submitted the job and follows it; it is started again at once, as Airflow would
job      the job's process on its node
node     the raylet of the job's node; the node is started anew after the trial
head     the head and both worker nodes, all their processes; all are started again at once

Recovered: the last command ended well, no second job ran beside the one whose command was killed, and the
result equals the undisturbed one bit by bit: the embedding table that the parts make, with nothing left to
encode, no part or draft left and no row doubled; the one published encoder. Seconds are from the kill to
the end of that command. Ctrl-C ends with the figures so far. Exit code 1 when a trial did not recover.
"""

import argparse
import contextlib
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from kills.ray_works import WORKS, Scene, Work
from load.tables import show

from mmprod.demo.nodes import Nodes, nodes

PATIENCE = 300  # seconds that a trial may take before it counts as hung
VICTIMS = ("command", "job", "node", "head")


class Trial:
    """Work done while something is killed, once `after` pieces of it are safe."""

    def __init__(self, work: Work, cluster: Nodes, lake: Path, victim: str, after: int, wait: float) -> None:
        self.work, self.cluster, self.lake = work, cluster, lake
        self.victim, self.after, self.wait = victim, after, wait
        self.command = work.submit(lake)

    def run(self, undisturbed: Any) -> tuple[float, list[str]]:
        """Seconds from the kill to the end, and what was wrong then."""
        try:
            return self._run(undisturbed)
        finally:
            self.command.kill()

    def _run(self, undisturbed: Any) -> tuple[float, list[str]]:
        node = self._reach()
        start = time.monotonic()
        getattr(self, f"_kill_{self.victim}")(node)
        code = self.command.wait(PATIENCE)
        seconds = time.monotonic() - start
        if self.victim == "node":
            self.cluster.end(node)
            self.cluster.start_worker(int(node.rpartition(".")[2]) - 3)
        if code:
            return seconds, [f"exit code {code}: {(self.lake / 'submitted.log').read_text()[-2000:]}"]
        result, wrong = self.work.result(self.lake)
        wrong += [] if result == undisturbed else ["not as undisturbed"]
        wrong += ["two jobs at once"] if self.victim == "command" and self._overlap() else []
        shutil.rmtree(self.lake)
        return seconds, wrong

    def _reach(self) -> str:
        """Wait for the random moment; the IP address of the job's node."""
        until = time.monotonic() + PATIENCE
        while not self._process() or self.work.safe(self.lake) < self.after:
            if time.monotonic() > until or self.command.poll() is not None:
                raise TimeoutError((self.lake / "submitted.log").read_text())
            time.sleep(0.02)
        node = self._jobs()[-1].driver_agent_http_address.split("/")[2].split(":")[0]
        time.sleep(self.wait)
        return str(node)

    def _kill_command(self, node: str) -> None:
        self.command.kill()
        self.command.wait()
        self.command = self.work.submit(self.lake, attempt=2)

    def _kill_job(self, node: str) -> None:
        for process in self._process():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _kill_node(self, node: str) -> None:
        self.cluster.kill(node)

    def _kill_head(self, node: str) -> None:
        workers = [ip for ip in self.cluster.running if ip != self.cluster.head]
        for ip in [self.cluster.head, *workers]:
            self.cluster.end(ip)
        self.cluster.start_head()
        for number in range(len(workers)):
            self.cluster.start_worker(number)

    def _overlap(self) -> bool:
        """Whether a second job was started before the first had ended."""
        jobs = self._jobs()
        return any(a.end_time > b.start_time for a, b in pairwise(jobs))

    def _jobs(self) -> list[Any]:
        from ray.job_submission import JobSubmissionClient

        jobs = JobSubmissionClient(self.cluster.address).list_jobs()
        ours = [job for job in jobs if f"{self.lake} " in job.entrypoint]
        return sorted(ours, key=lambda job: job.start_time)

    def _process(self) -> list[psutil.Process]:
        """The job's process, once it works: it has the lake on its command line, after the shell has gone."""
        words = {str(self.lake), "--json"}
        found = psutil.process_iter(["cmdline"])
        return [p for p in found if words <= set(p.info["cmdline"] or ()) and p.pid != self.command.pid]


Results = dict[tuple[str, str], list[tuple[float, list[str]]]]
"""By work and victim, of each trial: the seconds, and what was wrong."""


def rows(results: Results) -> Iterator[Sequence[object]]:
    """Of each work and victim: trials, how many ended as undisturbed, median and worst seconds."""
    for (work, victim), trials in results.items():
        if trials:
            times = [seconds for seconds, _ in trials]
            good = sum(not wrong for _, wrong in trials)
            yield work, victim, len(trials), good, statistics.median(times), max(times)


def undisturbed(work: Work, name: str) -> tuple[Any, int]:
    """What comes of the work when nothing is killed, and of how many pieces it is."""
    lake, start = work.scene.copy(f"{name}-undisturbed"), time.monotonic()
    if work.submit(lake).wait(PATIENCE):
        sys.exit((lake / "submitted.log").read_text())
    seconds, pieces = time.monotonic() - start, work.safe(lake)
    result, wrong = work.result(lake)
    print(f"{name} undisturbed: {pieces} pieces, {seconds:.1f} s {wrong or ''}", flush=True)
    return result, pieces


def attempt(options: argparse.Namespace, scene: Scene, cluster: Nodes, results: Results) -> None:
    """All trials, each told of when it is over."""
    chance = random.Random(options.seed)
    works = {name: WORKS[name](scene) for name in options.works}
    goals = {name: undisturbed(work, name) for name, work in works.items()}
    for number in range(options.trials):
        for name, victim in results:
            goal, pieces = goals[name]
            lake, after = scene.copy(f"{name}-{victim}-{number}"), chance.randrange(pieces)
            trial = Trial(works[name], cluster, lake, victim, after, chance.uniform(0, 0.3))
            seconds, wrong = trial.run(goal)
            results[name, victim].append((seconds, wrong))
            print(
                f"{name} {victim} after {after} of {pieces}: {seconds:.1f} s {'; '.join(wrong)}", flush=True
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=2, help="of each work by each victim")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--products", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: Results = {(work, victim): [] for work in options.works for victim in options.victims}
    with tempfile.TemporaryDirectory() as folder, nodes(workers=2) as cluster:
        scene = Scene(Path(folder), cluster.address, options.products)
        with contextlib.suppress(KeyboardInterrupt):  # enough: the figures so far
            attempt(options, scene, cluster, results)
    show(("work", "killed", "trials", "recovered", "median s", "worst s"), rows(results))
    return int(any(wrong for trials in results.values() for _, wrong in trials))


if __name__ == "__main__":
    sys.exit(main())
