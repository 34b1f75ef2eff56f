"""Kill -9 while a Ray cluster encodes a shard; then the embedding table has to be as if nothing had happened.

    python benchmarks/ray_kills.py [--trials 20] [--victims command,job,node,head] [--products 500] [--seed 0]

Starts a real cluster on this machine (a head that runs no jobs, two worker nodes) and has `mmprod embed
--shard 0` done on it, in parts of a few products. At a random part is killed, in turn:

command  `mmprod` that submitted the job and follows it; it is started again at once, as Airflow would
job      the job's process on its node
node     the raylet of the job's node; the node is started anew after the trial
head     the head and both worker nodes, all their processes; all are started again at once

Recovered: the last `mmprod embed --shard` ended well, no second job ran beside the one whose command was
killed, and the parts taken in make a table equal to the undisturbed one, row by row and bit by bit, with
nothing left to encode, no part or draft left and no row doubled. Seconds are from the kill to the end of
that command. Ctrl-C ends with the figures so far. Exit code 1 when a trial did not recover.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from load.tables import show

from mmprod.airflow.demo import days, make
from mmprod.config import load
from mmprod.demo.nodes import Nodes, nodes
from mmprod.lake import Lake
from mmprod.stages.embed import embed_changes, open_embeddings
from mmprod.stages.encoder import load_encoder
from mmprod.stages.ingest import ingest_table, open_store

MMPROD = Path(sys.executable).with_name("mmprod")
PATIENCE = 300  # seconds that a trial may take before it counts as hung
CONFIG = """
[store]
shards = 1
[encoder]
batch = 4
part_rows = 32
[ray]
address = "{address}"
command = "{command}"
"""


class Scene:
    """A lake with one day in its store and nothing encoded; each trial gets a copy of it."""

    def __init__(self, folder: Path, cluster: Nodes, products: int) -> None:
        self.folder, self.cluster = folder, cluster
        make(folder, MMPROD, products)
        self.file = folder / "mmprod.toml"
        self.file.write_text(CONFIG.format(address=cluster.address, command=MMPROD))
        config = self.config(folder / "lake")
        with open_store(Lake(config.lake), config, read_only=False) as store:
            table = folder / "catalogue" / "day1.parquet"
            ingest_table(Lake(config.lake), config, store, table, date.fromisoformat(days(folder)[0]))
            self.parts = -(-store.head()[0] // config.encoder.part_rows)
        self.encoder = load_encoder(Lake(config.lake), config)

    def config(self, lake: Path) -> Any:
        return load(self.file, {"lake": str(lake)}).config

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.folder / "lake", self.folder / name))

    def submit(self, lake: Path, attempt: int = 1) -> subprocess.Popen[bytes]:
        line = [str(MMPROD), "embed", "--shard", "0", "--config", str(self.file), "--lake", str(lake)]
        settings = {"MMPROD_ENGINE": "ray", "MMPROD_RUN": f"kills/{lake.name}:{attempt}"}
        with (lake / "submitted.log").open("ab") as log:
            return subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, **settings})

    def table(self, lake: Path) -> tuple[pa.Table, list[str]]:
        """The rows once all parts are taken in, and what is wrong with how they came there."""
        config = self.config(lake)
        with open_store(Lake(lake), config) as store:
            embeddings = open_embeddings(Lake(lake), config, self.encoder)
            outcome = embed_changes(config, store, embeddings, self.encoder)
        rows = embeddings.dataset.to_table().sort_by("product_id")
        left = [path.name for path in (embeddings.root / "parts").iterdir()]
        ids = rows["product_id"].to_pylist()
        wrong = [f"left: {left}"] if left else []
        wrong += [f"{outcome.rows} products were not in any part"] if outcome.rows else []
        wrong += [f"{len(ids) - len(set(ids))} rows doubled"] if len(ids) > len(set(ids)) else []
        return rows, wrong + embeddings.verify()


class Trial:
    """One shard encoded while something is killed: `seconds` to recover, and what was `wrong` then."""

    def __init__(self, scene: Scene, number: int, victim: str, chance: random.Random) -> None:
        self.scene, self.cluster, self.victim = scene, scene.cluster, victim
        self.lake = scene.copy(f"lake-{number}")
        self.command = scene.submit(self.lake)
        self.after = chance.randrange(scene.parts)
        self.wait = chance.uniform(0, 0.3)

    def run(self, undisturbed: pa.Table) -> tuple[float, list[str]]:
        try:
            return self._run(undisturbed)
        finally:
            self.command.kill()

    def _run(self, undisturbed: pa.Table) -> tuple[float, list[str]]:
        node = self._reach()
        start = time.monotonic()
        getattr(self, f"_kill_{self.victim}")(node)
        code = self.command.wait(PATIENCE)
        seconds = time.monotonic() - start
        rows, wrong = self.scene.table(self.lake)
        wrong += [f"exit code {code}"] if code else []
        wrong += [] if rows.equals(undisturbed) else ["other rows than undisturbed"]
        wrong += ["two jobs at once"] if self.victim == "command" and self._overlap() else []
        if self.victim == "node":
            self.cluster.end(node)
            self.cluster.start_worker(int(node.rpartition(".")[2]) - 3)
        shutil.rmtree(self.lake)
        return seconds, wrong

    def _reach(self) -> str:
        """Wait for the random moment; the IP address of the job's node."""
        until = time.monotonic() + PATIENCE
        while not self._process() or len(list(self.lake.glob("embeddings/*/parts/[0-9]*"))) < self.after:
            if time.monotonic() > until or self.command.poll() is not None:
                raise TimeoutError((self.lake / "submitted.log").read_text())
            time.sleep(0.02)
        node = self._jobs()[-1].driver_agent_http_address.split("/")[2].split(":")[0]
        time.sleep(self.wait)
        return str(node)

    def _kill_command(self, node: str) -> None:
        self.command.kill()
        self.command.wait()
        self.command = self.scene.submit(self.lake, attempt=2)

    def _kill_job(self, node: str) -> None:
        for pid in self._process():
            os.kill(pid, signal.SIGKILL)

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

    def _process(self) -> list[int]:
        """The job's process, once it works: it has the lake on its command line, after the shell has gone."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            words = _content(path).split("\0")
            if str(self.lake) in words and "--json" in words and int(path.parent.name) != self.command.pid:
                found.append(int(path.parent.name))
        return found


def _content(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def rows(results: dict[str, list[tuple[float, list[str]]]]) -> Iterator[Sequence[object]]:
    """Of each victim: trials, how many ended as undisturbed, median and worst seconds."""
    for victim, trials in results.items():
        if trials:
            times = [seconds for seconds, _ in trials]
            good = sum(not wrong for _, wrong in trials)
            yield victim, len(trials), good, statistics.median(times), max(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=2, help="of each victim")
    parser.add_argument("--victims", default="command,job,node,head")
    parser.add_argument("--products", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, victims = random.Random(options.seed), options.victims.split(",")
    results: dict[str, list[tuple[float, list[str]]]] = {victim: [] for victim in victims}
    with tempfile.TemporaryDirectory() as folder, nodes(workers=2) as cluster:
        scene = Scene(Path(folder), cluster, options.products)
        lake, start = scene.copy("undisturbed"), time.monotonic()
        if scene.submit(lake).wait(PATIENCE):
            sys.exit((lake / "submitted.log").read_text())
        seconds = time.monotonic() - start
        undisturbed, wrong = scene.table(lake)
        print(
            f"undisturbed: {undisturbed.num_rows} rows in {scene.parts} parts, {seconds:.1f} s {wrong or ''}"
        )
        with contextlib.suppress(KeyboardInterrupt):  # enough: the figures so far
            for number in range(options.trials * len(victims)):
                trial = Trial(scene, number, victims[number % len(victims)], chance)
                seconds, wrong = trial.run(undisturbed)
                results[trial.victim].append((seconds, wrong))
                moment = f"after {trial.after} of {scene.parts} parts"
                print(f"{trial.victim:<8} {moment}: {seconds:.1f} s {'; '.join(wrong)}", flush=True)
    show(("killed", "trials", "recovered", "median s", "worst s"), rows(results))
    return int(any(wrong for trials in results.values() for _, wrong in trials))


if __name__ == "__main__":
    sys.exit(main())
