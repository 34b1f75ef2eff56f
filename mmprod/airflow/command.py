"""The `mmprod` command as a task: its exit code decides about retries, its JSON is the task's result."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from mmprod.airflow import outcomes
from mmprod.airflow.settings import Settings
from mmprod.airflow.typed import check_run
from mmprod.datasets import threads

RUN = "MMPROD_RUN"
"""Tells the command its work and attempt, so that a superseded attempt publishes nothing."""
ENCODING = "mmprod_gpu"
"""The pool of the tasks that encode in parallel."""
_MISUSED = 2
_STOP_SECONDS = 30  # seconds between SIGTERM and SIGKILL
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PASSED_ON = ("MMPROD_", "OMP_", "CUDA_", "HF_", "NVIDIA_", "RAY_", "SSL_")


class Mmprod(BaseOperator):
    """Runs ``mmprod WORDS --json`` and returns a summary of its JSON: counts, names and paths, never rows.

    `words` are templates. Each line of a rendered template is an argument; empty lines are dropped, and
    parameters with line breaks are refused. `config`: which of the settings' TOML files to use. The counts
    are also attached to the events of the task's assets. Bad input and a refusing gate fail the task at once;
    other failures may be retried.
    """

    template_fields: Sequence[str] = ("words",)

    def __init__(self, *, words: Sequence[Any], config: str = "config", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words, self.config = words, config
        self._process: subprocess.Popen[str] | None = None
        self._lake, self._content = "", None

    def execute(self, context: Any) -> dict[str, Any]:
        check_run(context)
        settings = Settings.read()
        config = getattr(settings, self.config) or settings.config
        words = [line for word in self.words for line in str(word).splitlines() if line]
        line = [settings.command, *words, "--config", config, "--lake", settings.lake, "--json"]
        self._lake = settings.lake
        content = self._run(line, {RUN: _attempt(context["ti"]), **self.share(settings)})
        self.log.info("%s", "\n".join(outcomes.lines(content)))
        told = outcomes.summary(content)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = told
        return told

    def share(self, settings: Settings) -> dict[str, str]:
        """The command's threads, as an environment variable; parallel encoding tasks share the cores."""
        beside = settings.encoding if self.pool == ENCODING else 1
        return {threads.SHARE: str(max(1, threads.share() // beside))}

    def _run(self, line: Sequence[str], variables: Mapping[str, str]) -> Any:
        """Run the command; returns its JSON. Its messages are copied to the task's log as they appear."""
        self.log.info("%s", " ".join(line))
        with tempfile.TemporaryFile("w+") as printed, self._started(line, variables, printed) as process:
            for message in process.stderr or ():
                self.log.info("%s", message.rstrip())
            code = process.wait()
            printed.seek(0)
            text = printed.read()
        self._content = content = _read(text)
        if code:
            final = code == _MISUSED or (isinstance(content, dict) and content.get("retry") is False)
            kind = AirflowFailException if final else AirflowException
            raise kind(f"exit code {code}: {_error(content) or 'see the log above'}")
        return content

    @contextlib.contextmanager
    def _started(
        self, line: Sequence[str], variables: Mapping[str, str], printed: IO[str]
    ) -> Iterator["subprocess.Popen[str]"]:
        """Start the command in its own process group, which is ended with the `with` block."""
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
            env={**environment, **variables},
            start_new_session=True,
        )
        try:
            yield self._process
        finally:
            self.on_kill()

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """Inputs and outputs; called by the OpenLineage provider, if installed, also after failures."""
        from mmprod.airflow.facets import lineage  # needs the provider, which is optional

        return lineage([str(word) for word in self.words], Path(self._lake), self._content)

    def on_kill(self) -> None:
        """End the command and its child processes, after a timeout or when somebody stops the task."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
                return


def _attempt(ti: Any) -> str:
    """The work and the number of the attempt: ``dag/run/task/map index:try``."""
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}:{ti.try_number}"


def _read(text: str) -> Any:
    """The JSON on the last printed line; None if there is none."""
    with contextlib.suppress(ValueError, IndexError):
        return json.loads(text.strip().splitlines()[-1])
    return None


def _error(content: Any) -> str | None:
    told = content if isinstance(content, dict) else {}
    return told.get("error") or "; ".join(told.get("problems", ())) or None
