"""A complete Airflow on this machine, for this machine: API server, scheduler, DAG processor, triggerer.

    python -m mmprod.airflow.local --folder demo/airflow --command .venv/bin/mmprod

All state is in the folder. Ctrl-C, or a SIGTERM, ends every process that was started, and those they started.
"""

import argparse
import contextlib
import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmprod.airflow import demo

USER = PASSWORD = "admin"
_COMPONENTS = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),  # logs are read from the folder; its server would listen everywhere
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
_PATIENCE = 20  # seconds from a polite end to a hard one
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans become ours, so that they can be ended


def environment(home: Path, dags: Path, variable: Mapping[str, str], port: int) -> dict[str, str]:
    """Airflow's settings for this machine; secrets are made once and kept in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "passwords.json").write_text(json.dumps({USER: PASSWORD}))
    address = f"http://127.0.0.1:{port}"
    settings = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "CORE__FERNET_KEY": "",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": address,
        "API__WORKERS": "1",
        "API__SECRET_KEY": _secret(home),
        "API_AUTH__JWT_SECRET": _secret(home),
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "WORKERS__EXECUTION_API_TIMEOUT": "60",  # a cold API server takes its time
    }
    given = {f"AIRFLOW__{name}": value for name, value in settings.items()}
    own = {"AIRFLOW_HOME": str(home), "AIRFLOW_VAR_MMPROD": json.dumps(dict(variable)), "PYTHONSAFEPATH": "1"}
    return {**given, **os.environ, **own}


def _secret(home: Path) -> str:
    file = home / "secret"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32))
    return file.read_text()


@contextlib.contextmanager
def running(home: Path, settings: Mapping[str, str], pools: Path, patience: float = 180) -> Iterator[str]:
    """The address of an Airflow that runs, healthy, while the block lasts.

    Raises: RuntimeError when a component ends or is not healthy in time; its log is in `home`/logs.
    """
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for words in (("db", "migrate"), ("pools", "import", str(pools))):
        subprocess.run(_airflow(*words), env=settings, check=True, stdout=subprocess.DEVNULL)
    (home / "logs").mkdir(exist_ok=True)
    started: dict[str, subprocess.Popen[bytes]] = {}
    address = settings["AIRFLOW__API__BASE_URL"]
    try:
        for name, options in _COMPONENTS.items():
            started[name] = start(home, settings, name, *options)
        _wait_healthy(address, started, patience)
        yield address
    finally:
        stop_all()


def start(home: Path, settings: Mapping[str, str], name: str, *words: str) -> "subprocess.Popen[bytes]":
    """A component, in a process group of its own."""
    with (home / "logs" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            _airflow(name, *words), env=settings, stdout=log, stderr=log, start_new_session=True
        )


def _airflow(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "airflow", *words]


def _wait_healthy(address: str, started: Mapping[str, "subprocess.Popen[bytes]"], patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for name, process in started.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: see {name}.log")
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"{address}/api/v2/monitor/health", timeout=5) as answer:
                health = json.load(answer)
            if all(part["status"] == "healthy" for part in health.values()):
                return
        time.sleep(1)
    raise RuntimeError(f"Airflow is not healthy after {patience:.0f} s: see the logs")


def stop_all() -> None:
    """End every process below this one: politely, and after a while for good."""
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, 5)):
        end = time.monotonic() + patience
        for pid in _below(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while _below(os.getpid()) and time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.2)


def _below(pid: int) -> list[int]:
    """The processes that descend from one, from what /proc says of parents; dead ones left out."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        more = children.get(left.pop(), [])
        found += more
        left += more
    return found


def main() -> None:
    """Start, say where, and wait to be told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("demo/airflow"), help="where all state lies")
    parser.add_argument("--command", type=Path, default=Path(".venv/bin/mmprod"), help="the mmprod command")
    parser.add_argument("--dags", type=Path, default=Path("dags"), help="the folder of the DAG files")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--empty", action="store_true", help="deliver no day table: they arrive later")
    given = parser.parse_args()
    folder, dags = given.folder.resolve(), given.dags.resolve()
    variable = demo.make(folder, given.command)
    for day in [] if given.empty else demo.days(folder):
        demo.deliver(folder, day)
    home = folder / "home"
    settings = environment(home, dags, variable, given.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), running(home, settings, dags / "pools.json") as address:
        sys.stdout.write(f"Airflow: {address}  user {USER}, password {PASSWORD}\n")
        sys.stdout.write(f"Days of the demo: {', '.join(demo.days(folder))}. Ctrl-C ends it.\n")
        sys.stdout.flush()
        signal.pause()
    sys.stdout.write("Airflow has ended.\n")


if __name__ == "__main__":
    main()
