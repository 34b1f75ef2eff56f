"""The processes of a deployment: the gateway, Triton, and one for each model."""

from dataclasses import dataclass

import psutil
from load.deployment import Deployment

from mmprod.stages.online.server import read_server
from mmprod.storage.errors import StateError


@dataclass(frozen=True)
class Sample:
    """A process at a moment; `megabytes`: resident."""

    pid: int
    megabytes: float
    files: int
    threads: int


class Processes:
    """Looks at them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def find(self) -> dict[str, psutil.Process]:
        """By what they are: "gateway", "Triton", the names of models."""
        told, running = self._deployment.status(), read_server(self._deployment.lake)
        if running is None or told["triton"] is None:
            raise StateError(f"no server runs: {told['complaint']}")
        gateway, triton = psutil.Process(running.pid), psutil.Process(told["triton"])
        found = {"gateway": gateway, "Triton": triton}
        for process in triton.children(recursive=True):
            found |= {name: process for name in told["checked"] if f"/{name}/" in " ".join(process.cmdline())}
        return found

    def sample(self) -> dict[str, Sample]:
        """What each of them takes now."""
        return {name: look(process) for name, process in self.find().items()}


def look(process: psutil.Process) -> Sample:
    """One of them."""
    with process.oneshot():
        return Sample(process.pid, process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())
