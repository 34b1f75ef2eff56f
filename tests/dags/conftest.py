"""Airflow's own environment, of `make airflow`, and a small lake for its DAGs to work on."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmprod.airflow import demo
from mmprod.config import load
from mmprod.lake import Lake

ROOT = Path(__file__).parents[2]
AIRFLOW = ROOT / ".venv-airflow"
DRIVER = Path(__file__).with_name("driver.py")


@dataclass(frozen=True)
class World:
    """A folder with a catalogue, a lake and an Airflow home."""

    folder: Path
    variable: dict[str, str]

    @property
    def lake(self) -> Lake:
        return Lake(load(Path(self.variable["config"])).config.lake)

    def ask(self, *words: str, **variables: str) -> Any:
        """What `driver.py` answers, from Airflow's environment."""
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW_VAR_MMPROD": json.dumps(self.variable),
            **variables,
        }
        line = [str(AIRFLOW / "bin" / "python"), "-P", str(DRIVER), *words]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def run(
        self, dag: str, day: str = "2025-03-10", conf: dict[str, Any] | None = None, **variables: str
    ) -> Any:
        """State of a run and of its tasks, under more environment variables; see `driver.py`."""
        transport = {"type": "file", "log_file_path": str(self.folder / "lineage.jsonl"), "append": True}
        variables["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
        variables["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"  # the last event is logged behind the answer
        return self.ask("run", dag, day, json.dumps(conf or {}), **variables)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The OpenLineage events of a kind that tasks of all runs so far have sent, in order."""
        found = map(json.loads, (self.folder / "lineage.jsonl").read_text().splitlines())
        return [event for event in found if event["eventType"] == kind and "." in event["job"]["name"]]


@pytest.fixture(scope="session")
def answered() -> Callable[[Path, Path], None]:
    """Fills a CSV sheet in: every other pair is the same."""

    def fill_in(sheet: Path, target: Path) -> None:
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        aside = target.with_name(f".{target.name}")
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"label": number % 2} for number, row in enumerate(rows))
        aside.rename(target)

    return fill_in


@pytest.fixture(scope="session")
def airflow() -> Path:
    """The environment's Python."""
    python = AIRFLOW / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv-airflow here; `make test-airflow` makes it and runs these tests")
    return python


@pytest.fixture(scope="session")
def command() -> Path:
    """The mmprod command of the environment that runs the tests."""
    return Path(shutil.which("mmprod", path=str(Path(sys.executable).parent)) or "mmprod")


@pytest.fixture(scope="session")
def _world(airflow: Path, command: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("airflow")
    world = World(folder, demo.make(folder, command, products=90))
    subprocess.run(
        [str(airflow), "-P", "-m", "airflow", "db", "migrate"],
        env={**os.environ, "AIRFLOW_HOME": str(folder / "home")},
        check=True,
        capture_output=True,
    )
    return world


@pytest.fixture(scope="module")
def world(_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world of the module's own; its tests build on each other's runs."""
    folder = tmp_path_factory.mktemp("world") / "w"
    shutil.copytree(_world.folder, folder)
    moved = {k: v.replace(str(_world.folder), str(folder)) for k, v in _world.variable.items()}
    return World(folder, moved | {"command": _world.variable["command"]})
