"""A real Airflow in a folder of its own, in which waiting takes seconds rather than minutes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kills.api import Api

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-airflow" / "bin" / "python"
USER = PASSWORD = "admin"
QUICK = {
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",  # tasks of a scheduler that was killed
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8",  # from when on it counts as dead
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",  # tasks whose process tells nothing any more
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
}
_CHANGES = (
    (r'("retry_delay": timedelta)\([^)]*\)', r"\1(seconds=1)"),
    (r'"retry_exponential_backoff": True', '"retry_exponential_backoff": False'),
    (r"(\btimeout=timedelta\([^)]*\))", r"\1, stable_seconds=4.0"),
)


@dataclass(frozen=True)
class Service:
    """A running Airflow: its API, and the process that all of it descends from."""

    api: Api
    pid: int


def quick_dags(folder: Path, *names: str) -> Path:
    """A copy of the DAG files (all, or those named) that tries again after a second; the pools with it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pools.json").write_bytes((ROOT / "dags" / "pools.json").read_bytes())
    for source in (ROOT / "dags").glob("*.py"):
        if names and source.stem not in names:
            continue
        text = source.read_text()
        for pattern, replacement in _CHANGES:
            text = re.sub(pattern, replacement, text)
        (folder / source.name).write_text(text)
    return folder


@contextlib.contextmanager
def running(folder: Path, dags: Path, command: Path) -> Iterator[Service]:
    """Airflow with its state in `folder`, a demo without any day's table yet; ended with the block."""
    line = [str(PYTHON), "-P", "-m", "mmprod.airflow.local", "--empty", "--folder", str(folder)]
    line += ["--dags", str(dags), "--command", str(command), "--port", str(port := _free_port())]
    settings = {f"AIRFLOW__{name}": value for name, value in QUICK.items()}
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **settings}
    )
    try:
        told = process.stdout.readline() if process.stdout else ""
        if not told.startswith("Airflow: "):
            raise RuntimeError(f"Airflow did not start: {told!r}; see {folder / 'home' / 'logs'}")
        yield Service(Api(f"http://127.0.0.1:{port}", USER, PASSWORD), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    if "has ended" not in told:
        raise RuntimeError(f"Airflow did not end as it should: {told!r}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
