"""Airflow's REST API, as much of it as is needed to work with it as an operator does."""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
ENDED = ("success", "failed")


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

    def unpause(self, dag: str, timeout: float = 120) -> None:
        """Switch a DAG on, as soon as the DAG processor has read it."""
        wait(lambda: self.known(dag) or None, timeout)
        self.ask("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def known(self, dag: str) -> bool:
        found = self.ask("GET", f"/api/v2/dags?dag_id_pattern={dag}")["dags"]
        return any(one["dag_id"] == dag for one in found)

    def trigger(self, dag: str, **given: Any) -> str:
        """Start a run; its id."""
        run = self.ask("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, **given})
        return str(run["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns?limit=100")["dag_runs"]
        return found

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Each task of a run with its state, times and number of tries; a mapped one once for each part."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances?limit=100"
        found: list[dict[str, Any]] = self.ask("GET", path)["task_instances"]
        return found

    def states(self, dag: str, run: str) -> dict[str, str]:
        """State by task of a run; the last one of a mapped task."""
        return {task["task_id"]: task["state"] for task in self.tasks(dag, run)}

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """A run, with its state and times."""
        found: dict[str, Any] = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns/{run}")
        return found

    def state(self, dag: str, run: str) -> str:
        return str(self.run(dag, run)["state"])

    def finish(self, dag: str, run: str, timeout: float) -> str:
        """The state that a run ends with."""

        def ended() -> str | None:
            state = self.state(dag, run)
            return state if state in ENDED else None

        return wait(ended, timeout)

    def events(self, dag: str, run: str) -> list[str]:
        """Names of the assets that a run's tasks told others of, once for each event."""
        path = f"/api/v2/assets/events?source_dag_id={dag}&source_run_id={urllib.parse.quote(run)}&limit=100"
        return sorted(event["name"] for event in self.ask("GET", path)["asset_events"])

    def clear(self, dag: str, run: str, task: str) -> None:
        """Have a task done again, with all that comes after it; one that runs is stopped."""
        body = {"dag_run_id": run, "task_ids": [task], "dry_run": False, "only_failed": False}
        body |= {"include_downstream": True, "reset_dag_runs": True}
        self.ask("POST", f"/api/v2/dags/{dag}/clearTaskInstances", body)


def wait(look: Callable[[], T | None], timeout: float, every: float = 0.5) -> T:
    """What `look` finds, as soon as it finds something. Raises: TimeoutError."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(every)
    raise TimeoutError(f"nothing after {timeout:.0f} s")
