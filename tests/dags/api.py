"""Airflow's REST API, as much of it as the tests need."""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Api:
    """A signed-in user of the Airflow at `address`."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self.address, self.token = address, ""
        answer = self.ask("POST", "/auth/token", {"username": user, "password": password})
        self.token = answer["access_token"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to a request, as JSON. Raises: urllib.error.HTTPError."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def unpause(self, dag: str) -> None:
        self.ask("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, **given: Any) -> str:
        """Start a run; its id."""
        run = self.ask("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, **given})
        return str(run["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns?limit=100")["dag_runs"]
        return found

    def states(self, dag: str, run: str) -> dict[str, str]:
        """State by task of a run; the last one of a mapped task."""
        found = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances?limit=100")
        return {task["task_id"]: task["state"] for task in found["task_instances"]}

    def finish(self, dag: str, run: str, patience: float) -> str:
        """The state that a run ends with."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}"
        found: str = wait(
            lambda: state if (state := self.ask("GET", path)["state"]) in ("success", "failed") else None,
            patience,
        )
        return found


def wait(look: Callable[[], T | None], patience: float) -> T:
    """What `look` finds, as soon as it finds something. Raises: TimeoutError."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(1)
    raise TimeoutError(f"nothing after {patience:.0f} s")
