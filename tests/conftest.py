"""What tests of several folders need."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
DEV = ("check-jsonschema", "hadolint")  # commands of the extra `dev`
_MODULES = ("cli.app", "stages.training.promotion", "stages.daily.run", "encoders.clip")
_WHEN_NEEDED = ("lance", "faiss")  # which commands import then
_IMPORTS = "import " + ", ".join((*(f"mmprod.{module}" for module in _MODULES), *_WHEN_NEEDED))


def _note(test: str, why: str, cure: str | None = None) -> None:
    """Tell `skips.py` of a skip, where it has asked for that."""
    if path := os.environ.get("SKIPS"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"test": test, "why": why, "cure": cure}) + "\n")


def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> None:
    if call.excinfo and isinstance(call.excinfo.value, pytest.skip.Exception):
        _note(item.nodeid, str(call.excinfo.value), getattr(call.excinfo.value, "cure", None))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _note(report.nodeid, report.longrepr[2].removeprefix("Skipped: "))


@pytest.fixture(scope="session")
def missing() -> Callable[[str, str], NoReturn]:
    """Skips for want of what a command installs: where `make test` runs in CI, it then fails."""

    def skip(what: str, cure: str) -> NoReturn:
        skipped = pytest.skip.Exception(f"there is no {what} here: `{cure}` installs it")
        skipped.cure = cure  # type: ignore[attr-defined]
        raise skipped

    return skip


@pytest.fixture(scope="session")
def tool(missing: Callable[[str, str], NoReturn]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a command line tool: of this environment, else of the machine."""

    def run(name: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
        if path is None and name in DEV:
            missing(name, 'pip install -e ".[dev]"')
        if path is None:
            pytest.skip(f"there is no {name} here")
        return subprocess.run([path, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)

    return run


@pytest.fixture(scope="module")
def browser(missing: Callable[[str, str], NoReturn]) -> Iterator[Browser]:
    """Chromium, one for a module: starting it takes a second."""
    if not CHROMIUM.exists():
        missing("Chromium", "make tools")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass(frozen=True)
class Done:
    """How a forked command ended; `stopped` is its process where it has stopped itself."""

    status: int | None = None
    out: str = ""
    err: str = ""
    stopped: int | None = None


@dataclass(frozen=True)
class Forked:
    """Does commands and snippets in children of one process that has imported everything (`forked.py`)."""

    process: "subprocess.Popen[str]"

    def mmprod(self, *words: str, folder: Path, **variables: str) -> Done:
        """``mmprod WORDS`` in a folder, with more environment variables."""
        return self._ask(line=("mmprod", *words), folder=str(folder), variables=variables)

    def python(self, code: str, folder: Path, **variables: str) -> Done:
        """A Python snippet in a folder, with more environment variables."""
        return self._ask(code=code, folder=str(folder), variables=variables)

    def reap(self, stopped: int) -> int | None:
        """The exit status of a command that had stopped."""
        return self._ask(reap=stopped).status

    def _ask(self, **order: Any) -> Done:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Done(**json.loads(self.process.stdout.readline()))


@contextmanager
def _server(python: Path, *words: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """A running `forked.py`, in an environment with further variables."""
    line = [str(python), str(Path(__file__).with_name("forked.py")), *words]
    pipe, environment = subprocess.PIPE, {**os.environ, **variables}
    with subprocess.Popen(line, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0


@contextmanager
def _forking(python: Path, imports: str, path: Path, **variables: str) -> Iterator[Forked]:
    with _server(python, imports, PYTHONPATH=str(path), **variables) as process:
        yield Forked(process)


@pytest.fixture(scope="session")
def forking() -> Callable[..., AbstractContextManager[Forked]]:
    """For work of one kind that would each time take seconds to import what it needs.

    Wants the Python to run, a snippet of imports, a folder to import from, and environment variables.
    """
    return _forking


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    """For commands of mmprod."""
    with _forking(Path(sys.executable), _IMPORTS, ROOT / "benchmarks") as forked:
        yield forked


@pytest.fixture(scope="session")
def stand_in() -> Iterator[Path]:
    """A program that stands in for `mmprod` where others start it: a child of one process that has imported
    everything does the work (`stand_in.py`, `forked.py`).

    Not for commands that are killed by process id, stopped, or limited in memory. Threads are as configured,
    but OpenBLAS has one; nothing is asked of a hub.
    """
    own = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder) / "mmprod"
        script = Path(__file__).with_name("stand_in.py").read_text()
        command.write_text(f"#!{sys.executable} -IS\n{script}")
        command.chmod(0o700)
        with _server(Path(sys.executable), _IMPORTS, f"{command}.socket", **own) as server:
            assert server.stdout
            assert server.stdout.readline(), "the server has ended, see above"
            yield command


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port that is free, and so is the one two above it."""

    def find() -> int:
        while True:
            with closing(socket.socket()) as one, closing(socket.socket()) as other:
                one.bind(("127.0.0.1", 0))
                port: int = one.getsockname()[1]
                try:
                    other.bind(("127.0.0.1", port + 2))
                except (OSError, OverflowError):
                    continue
                return port

    return find


@pytest.fixture
def another_port(free_port: Callable[[], int]) -> int:
    """A port for a server of the test's own."""
    return free_port()
