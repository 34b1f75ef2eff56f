"""What tests of several folders need."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


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
        return self._ask(words=words, folder=str(folder), variables=variables)

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
def _forking(python: Path, imports: str, path: Path, **variables: str) -> Iterator[Forked]:
    line = [str(python), str(Path(__file__).with_name("forked.py")), imports]
    environment = {**os.environ, "PYTHONPATH": str(path), **variables}
    with subprocess.Popen(
        line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Forked(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture(scope="session")
def forking() -> Callable[..., AbstractContextManager[Forked]]:
    """For work of one kind that would each time take seconds to import what it needs.

    Wants the Python to run, a snippet of imports, a folder to import from, and environment variables.
    """
    return _forking


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    """For commands of mmprod."""
    imports = "import mmprod.stages.promotion, mmprod.stages.run"
    with _forking(Path(sys.executable), imports, Path(__file__).parents[1] / "benchmarks") as forked:
        yield forked


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
