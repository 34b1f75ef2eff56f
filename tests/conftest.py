"""What tests of several folders need."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
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

    def python(self, code: str, folder: Path) -> Done:
        """A Python snippet in a folder."""
        return self._ask(code=code, folder=str(folder), variables={})

    def reap(self, stopped: int) -> int | None:
        """The exit status of a command that had stopped."""
        return self._ask(reap=stopped).status

    def _ask(self, **order: Any) -> Done:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Done(**json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    """For commands that would each take seconds to import torch."""
    line = [sys.executable, str(Path(__file__).with_name("forked.py"))]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forked(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0


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
