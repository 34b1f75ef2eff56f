"""The wheel: it has all that the repository has, and works where there is no repository."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from mmprod.cli.app import app

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
AIRFLOW = ROOT / ".venv-airflow" / "bin" / "python"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PYPROJECT["tool"]["setuptools"]["package-dir"]
SHIPPED = ("configs", "dags", "deploy", "triton_models")
CONSTRAINTS = ("constraints.txt", "constraints-airflow.txt", "constraints-triton.txt")
IMPORTS = (
    "import rich, typer.rich_utils, mmprod.encoders.clip, mmprod.stages.daily.run, mmprod.retrieval.recall"
)
DAGS = """
import json, sys, mmprod
from airflow.dag_processing.dagbag import DagBag
found = DagBag(sys.argv[1])
print(json.dumps([mmprod.__file__, sorted(found.dags), found.import_errors]))
"""


def files(folder: Path) -> dict[str, bytes]:
    """Content by path below the folder, but for bytecode."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: the folder build/ keeps what was deleted since, and another build may be at work."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in (*PACKAGES.values(), *SHIPPED):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", *CONSTRAINTS):
        shutil.copy(ROOT / name, source / name)
    (source / "dags" / "__pycache__").mkdir()
    (source / "dags" / "__pycache__" / "left.pyc").touch()
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*line, "--wheel-dir", folder, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("mmprod-*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path) -> Path:
    """Of the wheel, on top of the libraries that are here, but not of the project as it is installed here."""
    folder = wheel.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
    line = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    done = subprocess.run(
        [*line, "--no-deps", "--no-index", wheel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(environment: Path) -> Path:
    """The package as it is installed."""
    return next(environment.glob("lib/python*/site-packages/mmprod"))


@pytest.fixture(scope="module")
def mmprod(
    environment: Path, forking: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., str]]:
    """What a command of that environment prints, in a folder of which it knows nothing."""
    nothing = tmp_path_factory.mktemp("nothing")
    with forking(environment / "bin" / "python", IMPORTS, nothing, PYTHONSAFEPATH="1") as forked:

        def run(*words: str, folder: Path = nothing) -> str:
            done = forked.mmprod(*words, folder=folder)
            assert done.status == 0, f"{' '.join(words)}\n{done.out}{done.err}"
            told: str = done.out
            return told

        found = forked.python("import mmprod.storage.files as f; print(f.__file__)", nothing).out
        assert Path(found).is_relative_to(environment), found
        yield run
        assert not list(nothing.iterdir())


def test_it_has_every_file_of_the_repository_and_no_other(wheel: Path) -> None:
    wanted = {name: (ROOT / name).read_bytes() for name in CONSTRAINTS}
    wanted |= {f"{name}/{path}": data for name in SHIPPED for path, data in files(ROOT / name).items()}
    wanted = {f"mmprod/{path}": data for path, data in wanted.items()}
    for package, name in PACKAGES.items():
        wanted |= {f"{package.replace('.', '/')}/{path}": data for path, data in files(ROOT / name).items()}
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    assert set(found) == set(wanted)
    assert found == wanted


def test_it_names_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(name).decode())
    project = PYPROJECT["project"]
    assert set(told.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    plain = [line for line in told.get_all("Requires-Dist", []) if "extra ==" not in line]
    named = [re.split(r"[^\w.-]", line)[0] for line in project["dependencies"]]
    assert [re.split(r"[^\w.-]", line)[0] for line in plain] == named


def commands(group: TyperGroup, *names: str) -> Iterator[tuple[str, ...]]:
    for word, command in group.commands.items():
        yield (*names, word)
        if isinstance(command, TyperGroup):
            yield from commands(command, *names, word)


def test_every_command_tells_of_itself(mmprod: Callable[..., str], environment: Path) -> None:
    found = list(commands(typer.main.get_group(app)))
    assert len(found) > 40
    for words in found:
        assert f"mmprod {' '.join(words)} " in mmprod(*words, "--help")
    line = [environment / "bin" / "mmprod", "--help"]
    told = subprocess.run(line, cwd=environment, capture_output=True, text=True, check=True).stdout
    assert all(words[0] in told for words in found)


def test_no_cure_asks_for_the_repository(mmprod: Callable[..., str]) -> None:
    found = json.loads(mmprod("doctor", "--json"))
    told = json.dumps(found)
    assert "sh deploy/triton-environment.sh" in told
    assert not re.search(r"make |tests of", told), told


def test_a_catalogue_goes_through_it(mmprod: Callable[..., str], tmp_path: Path) -> None:
    """Rendered, learnt from, run for a day, searched; nothing is written but below the folder."""
    (tmp_path / "mmprod.toml").write_text("[index]\nmax_similarity = 1.0\n")  # three steps teach little
    mmprod("sample-catalog", "shop", "--products", "84", folder=tmp_path)
    mmprod("train", "--table", "shop/train.parquet", "--steps", "3", "--batch-size", "16", folder=tmp_path)
    day = ("--day", "2025-03-03", "--table", "shop/day1.parquet")
    stages = json.loads(mmprod("run", *day, "--json", folder=tmp_path))["stages"]
    assert {stage["stage"].split()[0] for stage in stages} == {"ingest", "embed", "index", "recall"}
    found = json.loads(mmprod("search", "red mug", "--top", "5", "--json", folder=tmp_path))["results"]
    assert len({hit["product_id"] for hit in found}) == 5
    mmprod("report", "--query", "red mug", folder=tmp_path)
    assert "<html" in (tmp_path / "report.html").read_text()


def test_airflow_finds_its_dags(
    mmprod: Callable[..., str], installed: Path, missing: Callable[..., Any], tmp_path: Path
) -> None:
    """In the environment of Airflow, with the wheel's mmprod before the one that is installed there."""
    folder = Path(mmprod("airflow", "dags").strip())
    assert folder.is_relative_to(installed) and files(folder) == files(ROOT / "dags")
    mmprod("airflow", "dags", "--copy", str(tmp_path / "dags"))
    assert files(tmp_path / "dags") == files(folder)
    if not AIRFLOW.exists():
        missing(".venv-airflow", "make test-airflow")
    variables = {"AIRFLOW_HOME": tmp_path / "home", "PYTHONPATH": installed.parent, "PYTHONSAFEPATH": "1"}
    variables["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    line = [AIRFLOW, "-c", DAGS, folder]
    done = subprocess.run(line, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    module, dags, errors = json.loads(done.stdout.splitlines()[-1])
    assert Path(module).parent == installed and errors == {}
    assert {path.stem for path in folder.glob("*.py")} <= set(dags)


def test_triton_gets_its_model_repository(mmprod: Callable[..., str], tmp_path: Path) -> None:
    mmprod("triton", "render", str(tmp_path / "models"))
    assert files(tmp_path / "models") == files(ROOT / "triton_models")


def test_recipes_are_found(mmprod: Callable[..., str], installed: Path, tmp_path: Path) -> None:
    found = json.loads(mmprod("config", "recipes", "--json"))["recipes"]
    assert {Path(path).name for path in found} == {path.name for path in (ROOT / "configs").glob("*.toml")}
    for path in found:
        assert Path(path).is_relative_to(installed)
        told = json.loads(mmprod("config", "show", "--config", path, "--json"))
        assert told["finetune.batch_size"]["origin"] == path
    mmprod("config", "recipes", "--copy", str(tmp_path))
    assert files(tmp_path) == files(ROOT / "configs")


def test_deployment_files_come_out(mmprod: Callable[..., str], tmp_path: Path) -> None:
    mmprod("deploy", str(tmp_path))
    assert files(tmp_path / "deploy") == files(ROOT / "deploy")
    for name in CONSTRAINTS:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
