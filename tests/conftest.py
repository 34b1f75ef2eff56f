"""What tests of several folders need."""

import socket
from collections.abc import Callable
from contextlib import closing

import pytest


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
