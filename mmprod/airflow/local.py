"""Runs a complete local Airflow: API server, scheduler, DAG processor, triggerer.

    python -m mmprod.airflow.local --folder demo/airflow --command .venv/bin/mmprod

All state is in the folder. A component that dies is restarted. Ctrl-C or SIGTERM ends all processes that were
started, including their child processes.
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
from collections.abc import Mapping
from pathlib import Path

import psutil

from mmprod.airflow import demo
from mmprod.shipped import shipped

USER = PASSWORD = "admin"
_COMPONENTS = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),  # logs are read from the folder; the log server would listen on all
    # addresses
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
_IDLE = "airflow worker -- LocalExecutor: <idle>"  # the title of these processes
_STOP_SECONDS = 20  # seconds between SIGTERM and SIGKILL
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans become our children, so that we can end them


def environment(home: Path, dags: Path, variable: Mapping[str, str], port: int) -> dict[str, str]:
    """Airflow's settings for this machine; secrets are generated once and kept in `home`."""
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
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",  # seconds; for tasks of a killed scheduler
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "WORKERS__EXECUTION_API_TIMEOUT": "60",  # the API server is slow after its start
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


class Airflow:
    """The components of an Airflow whose state is in `home`; a context manager that starts and ends them."""

    def __init__(self, home: Path, settings: Mapping[str, str], pools: Path) -> None:
        self.home, self.settings, self.pools = home, settings, pools
        self.address = settings["AIRFLOW__API__BASE_URL"]
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Airflow":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        (self.home / "logs").mkdir(exist_ok=True)
        try:
            for words in (("db", "migrate"), ("pools", "import", str(self.pools))):
                if subprocess.run(_airflow(*words), env=self.settings, stdout=subprocess.DEVNULL).returncode:
                    raise SystemExit(f"Airflow did not start: `airflow {' '.join(words)}` failed, see above")
            self.revive()
        except BaseException:
            stop_all()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        stop_all()

    def revive(self) -> None:
        """Start each component that is not running, in its own process group."""
        _reap()
        _end_idle_workers()
        for name, options in _COMPONENTS.items():
            process = self.started.get(name)
            if process is None or process.poll() is not None:
                with (self.home / "logs" / f"{name}.log").open("ab") as log:
                    self.started[name] = subprocess.Popen(
                        _airflow(name, *options),
                        env=self.settings,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )

    def wait(self, seconds: float = 180) -> None:
        """Wait until all components are healthy. Raises: RuntimeError after `seconds`; see logs in `home`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                with urllib.request.urlopen(f"{self.address}/api/v2/monitor/health", timeout=5) as answer:
                    health = json.load(answer)
                if all(part["status"] == "healthy" for part in health.values()):
                    return
            time.sleep(1)
        raise RuntimeError(f"Airflow is not healthy after {seconds:.0f} s: see {self.home / 'logs'}")


def _airflow(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "airflow", *words]


def stop_all() -> None:
    """End all descendants of this process, with SIGTERM and after a while with SIGKILL."""
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 5)):
        end = time.monotonic() + seconds
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        while psutil.Process().children() and time.monotonic() < end:
            _reap()
            time.sleep(0.2)


def _reap() -> None:
    """Reap all child processes that have ended, including adopted ones whose parent was killed."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_idle_workers() -> None:
    """End idle workers of a killed scheduler: they would keep its database session and locks."""
    for child in psutil.Process().children():  # workers of a running scheduler are its children, not ours
        with contextlib.suppress(psutil.NoSuchProcess):
            if " ".join(child.cmdline()).startswith(_IDLE):
                child.kill()


def main() -> None:
    """Start Airflow, print its address, and run until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("demo/airflow"), help="the folder of all state")
    parser.add_argument("--command", type=Path, default=Path(".venv/bin/mmprod"), help="the mmprod command")
    parser.add_argument("--dags", type=Path, default=shipped("dags"), help="the folder of the DAG files")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--empty", action="store_true", help="deliver no day tables yet")
    given = parser.parse_args()
    folder, dags = given.folder.resolve(), given.dags.resolve()
    variable = demo.make(folder, given.command)
    for day in [] if given.empty else demo.days(folder):
        demo.deliver(folder, day)
    home = folder / "home"
    settings = environment(home, dags, variable, given.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Airflow(home, settings, dags / "pools.json") as airflow:
        airflow.wait()
        sys.stdout.write(f"Airflow: {airflow.address}  user {USER}, password {PASSWORD}\n")
        sys.stdout.write(f"Days of the demo: {', '.join(demo.days(folder))}. Ctrl-C ends it.\n")
        sys.stdout.flush()
        while True:
            airflow.revive()
            time.sleep(1)
    sys.stdout.write("Airflow has ended.\n")


if __name__ == "__main__":
    main()
