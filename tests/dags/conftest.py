"""Airflow's own environment, of `make airflow`, and a small lake for its DAGs to work on."""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mmprod.airflow import demo
from mmprod.config import load
from mmprod.lake import Lake

ROOT = Path(__file__).parents[2]
AIRFLOW = ROOT / ".venv-airflow"


@dataclass(frozen=True)
class World:
    """A folder with a catalogue, a lake and an Airflow home."""

    folder: Path
    variable: dict[str, str]
    forked: Any = None
    """Where `driver.py` is imported, in Airflow's environment; see `tests/conftest.py`."""

    @property
    def lake(self) -> Lake:
        return Lake(load(Path(self.variable["config"])).config.lake)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of an Airflow here."""
        transport = {"type": "file", "log_file_path": str(self.folder / "lineage.jsonl"), "append": True}
        return {
            "AIRFLOW_HOME": str(self.folder / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",  # the last event is logged behind the answer
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW_VAR_MMPROD": json.dumps(self.variable),
        }

    def ask(self, function: str, *given: Any, **variables: str) -> Any:
        """What a function of `driver.py` answers, under more environment variables."""
        code = f"import json, driver; print(); print(json.dumps(driver.{function}(*{given!r})))"
        done = self.forked.python(code, self.folder, **variables)
        assert done.status == 0, done.out[-6000:] + done.err[-3000:]
        return json.loads(done.out.splitlines()[-1])

    def run(
        self, dag: str, day: str = "2025-03-10", conf: dict[str, Any] | None = None, **variables: str
    ) -> Any:
        """State of a run and of its tasks, under more environment variables; see `driver.py`."""
        return self.ask("run", dag, day, conf or {}, **variables)

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
def airflow(missing) -> Path:
    """The environment's Python."""
    python = AIRFLOW / "bin" / "python"
    if not python.exists():
        missing(".venv-airflow", "make test-airflow")
    return python


@pytest.fixture(scope="session")
def command() -> Path:
    """The mmprod command of the environment that runs the tests."""
    return Path(shutil.which("mmprod", path=str(Path(sys.executable).parent)) or "mmprod")


@pytest.fixture(scope="session")
def _world(airflow: Path, stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("airflow")
    return World(folder, demo.make(folder, stand_in, products=90))


@pytest.fixture(scope="module")
def place(_world: World, command: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world of the module's own, whose tasks start mmprod itself."""
    folder = tmp_path_factory.mktemp("world") / "w"
    shutil.copytree(_world.folder, folder)
    moved = {k: v.replace(str(_world.folder), str(folder)) for k, v in _world.variable.items()}
    return World(folder, moved | {"command": str(command)})


@pytest.fixture(scope="module")
def world(place: World, airflow: Path, stand_in: Path, forking: Callable[..., Any]) -> Iterator[World]:
    """The same, whose DAGs can be run; the module's tests build on each other's runs.

    Tasks start a stand-in for mmprod: their work is what counts here, in test_service.py it is the process.
    """
    known = replace(place, variable=place.variable | {"command": str(stand_in)})
    imports = "import driver; driver.warm()"
    with forking(airflow, imports, Path(__file__).parent, **known.variables) as forked:
        world = replace(known, forked=forked)
        world.ask("create")
        yield world
