"""The `mmprod` command as a task: it says whether a retry can help, and its JSON is the result."""

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
"""Names the work and its attempt to the command, so that a superseded attempt publishes nothing."""
ENCODING = "mmprod_gpu"
"""The pool of tasks that encode side by side."""
_MISUSED = 2
_PATIENCE = 30  # seconds from a polite end to a hard one
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PASSED_ON = ("MMPROD_", "OMP_", "CUDA_", "HF_", "NVIDIA_", "RAY_", "SSL_")


class Mmprod(BaseOperator):
    """Runs ``mmprod WORDS --json`` and returns what it told: counts, names and paths, never rows.

    `words` are templates; each line that comes out is a word, empty ones are left out; parameters with line
    breaks are refused. `config` names the settings' TOML file to use. The counts also go to the events of the
    task's assets. Bad input and a gate that refused fail the task at once, any other failure may be retried.
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
        """How many threads the command gets, as a variable: those that encode together share the cores."""
        beside = settings.encoding if self.pool == ENCODING else 1
        return {threads.SHARE: str(max(1, threads.share() // beside))}

    def _run(self, line: Sequence[str], variables: Mapping[str, str]) -> Any:
        """What the command printed; its messages go to the task's log as they come."""
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
            env={**environment, **variables},
            start_new_session=True,
        )
        try:
            yield self._process
        finally:
            self.on_kill()

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """What was read and made; the OpenLineage provider asks, if it is installed, after failures too."""
        from mmprod.airflow.facets import lineage

        return lineage([str(word) for word in self.words], Path(self._lake), self._content)

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
