"""The `mmprod` command as a task: its exit code decides whether a retry can help, its JSON is the result."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from mmprod.airflow.settings import Settings

RUN = "MMPROD_RUN"
"""Names the work and its attempt to the command, so that a superseded attempt publishes nothing."""
_MISUSED = 2
_PATIENCE = 30  # seconds from a polite end to a hard one
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PASSED_ON = ("MMPROD_", "OMP_", "CUDA_", "HF_", "NVIDIA_", "SSL_")


class Mmprod(BaseOperator):
    """Runs ``mmprod WORDS --json`` and returns what it told: counts, names and paths, never rows.

    `words` are templates; those that come out empty are left out. `config` names the settings' TOML file to
    use. The counts also go to the events of the task's assets. Exit code 2 (bad input) fails the task at
    once, any other failure may be retried.
    """

    template_fields: Sequence[str] = ("words",)

    def __init__(self, *, words: Sequence[Any], config: str = "config", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words, self.config = words, config
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        settings = Settings.read()
        config = getattr(settings, self.config) or settings.config
        words = [str(word) for word in self.words if str(word)]
        line = [settings.command, *words, "--config", config, "--lake", settings.lake, "--json"]
        told = summary(self._run(line, _attempt(context["ti"])))
        self.log.info("%s", json.dumps(told, ensure_ascii=False, indent=1))
        for asset in self.outlets:
            context["outlet_events"][asset].extra = told
        return told

    def _run(self, line: Sequence[str], attempt: str) -> Any:
        """What the command printed; its messages go to the task's log as they come."""
        self.log.info("%s", " ".join(line))
        with tempfile.TemporaryFile("w+") as printed, self._started(line, attempt, printed) as process:
            for message in process.stderr or ():
                self.log.info("%s", message.rstrip())
            code = process.wait()
            printed.seek(0)
            text = printed.read()
        content = _read(text)
        if code:
            kind = AirflowFailException if code == _MISUSED else AirflowException
            raise kind(f"exit code {code}: {_error(content) or 'see the log above'}")
        return content

    @contextlib.contextmanager
    def _started(
        self, line: Sequence[str], attempt: str, printed: IO[str]
    ) -> Iterator["subprocess.Popen[str]"]:
        """The running command, in a process group of its own that does not outlive the block."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_PASSED_ON)
        }
        self._process = subprocess.Popen(
            line,
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**environment, RUN: attempt},
            start_new_session=True,
        )
        try:
            yield self._process
        finally:
            self.on_kill()

    def on_kill(self) -> None:
        """End the command and all it started: at a time-out, or when somebody stops the task."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
                return


def summary(content: Any) -> dict[str, Any]:
    """What of a command's JSON travels between tasks: numbers, names and paths; of lists only their length.

    Outcomes of stages are told by stage, a second one of a name as "name #2".
    """
    told: dict[str, Any] = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if name == "stages":
            for outcome in value:
                before = sum(key.partition(" #")[0] == outcome["stage"] for key in told)
                key = f"{outcome['stage']} #{before + 1}" if before else outcome["stage"]
                told[key] = {**summary(outcome), **summary(outcome["detail"])}
        elif isinstance(value, list):
            told[name] = len(value)
        elif not isinstance(value, dict):
            told[name] = value
    return told


def _attempt(ti: Any) -> str:
    """Which work this is, and the how manieth attempt at it."""
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}:{ti.try_number}"


def _read(text: str) -> Any:
    """The JSON on the last line that was printed; None when there is none."""
    with contextlib.suppress(ValueError, IndexError):
        return json.loads(text.strip().splitlines()[-1])
    return None


def _error(content: Any) -> str | None:
    told = content if isinstance(content, dict) else {}
    return told.get("error") or "; ".join(told.get("problems", ())) or None
