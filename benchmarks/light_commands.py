"""What a command costs as a whole process: CPU-seconds of those that read and those with nothing left to do.

    python benchmarks/light_commands.py [--demo demo] [--rounds 5]

On copies of the lake that `mmprod demo` made; skipped where there is none. One copy has no exported engine:
there torch answers, the ways "with torch". User and system time of the process, medians of rounds in which
the commands take turns, after a first one that isn't counted; shares of the search with torch.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from load.tables import show

SEARCH = ("search", "red striped mug")
BASELINE = "search TEXT, with torch"
ASKS = {
    "search TEXT": SEARCH,
    "searches run FILE": ("searches", "run", "catalogue/texts.txt"),
    "similarity A B": ("similarity", "D000012", "D000083"),
    "report --query": ("report", "--query", "red striped mug"),
}
READS = {
    "search --product A": ("search", "--product", "D000012"),
    "status": ("status",),
    "verify": ("verify",),
    "store stats": ("store", "stats"),
    "review plan": ("review", "plan"),
    "review reviewers": ("review", "reviewers"),
    "evaluate survey": ("evaluate", "survey"),
    "index promote": ("index", "promote"),
    "recall build": ("recall", "build"),
    "groups build": ("groups", "build"),
    "features build": ("features", "build"),
    "index build": ("index", "build"),
    "embed": ("embed",),
}
Ways = Mapping[str, tuple[Path, tuple[str, ...]]]
"""By name: the folder to do it in, and the words of a command."""


def ways(demo: Path, folder: Path) -> Ways:
    """What is measured, on copies of the demo's lake below `folder`."""
    here, torch = folder / "engine", folder / "torch"
    for copy in (here, torch):
        for name in ("lake", "catalogue"):
            shutil.copytree(demo / name, copy / name)
    shutil.rmtree(torch / "lake" / "engines")
    last = json.loads((demo / "catalogue" / "planted.json").read_text())[-1]
    day = ("run", "--day", last["day"], "--table", f"catalogue/{last['file']}")
    found = {f"{name}, with torch": (torch, words) for name, words in ASKS.items()}
    found |= {name: (here, words) for name, words in ASKS.items()}
    found |= {"--help": (here, ("--help",)), "config show": (here, ("config", "show"))}
    found |= {name: (here, words) for name, words in READS.items()}
    return found | {"run, nothing changed": (here, day)}


def cpu_seconds(folder: Path, words: tuple[str, ...]) -> float:
    """User and system time of `mmprod WORDS`, a process of its own."""
    command = [str(Path(sys.executable).with_name("mmprod")), *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def measure(ways: Ways, rounds: int) -> dict[str, float]:
    """Median CPU-seconds by name."""
    for way in ways.values():
        cpu_seconds(*way)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(cpu_seconds(*way))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not (given.demo / "lake" / "engines").exists():
        print(f"skipped: {given.demo} has no lake with an engine; `mmprod demo` makes one")
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(ways(given.demo, Path(folder)), given.rounds)
    rows = [(name, f"{seconds:.2f}", f"{seconds / found[BASELINE]:.0%}") for name, seconds in found.items()]
    show(("command", "CPU-seconds", "of the first"), rows)


if __name__ == "__main__":
    main()
