"""Runs an mmprod command as a job on a Ray cluster; resubmits it if its node is lost.

A job's name is derived from the work to be done, so a second process that wants the same work finds the
running job and follows it. A job reports its result by exit code and by the JSON on its last line, like any
mmprod command.
"""

import contextlib
import hashlib
import json
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmprod.datasets import threads
from mmprod.datasets.lazy import lazy
from mmprod.sections import Ray
from mmprod.storage import fencing
from mmprod.storage.errors import InputError, StateError

job_submission = lazy("ray.job_submission")  # optional
PATIENCE = 600.0  # seconds to keep retrying while the dashboard does not answer
PAUSE = 2.0  # seconds before a lost job is resubmitted; doubles each time
_TIMEOUT = 30  # seconds for one response of the dashboard
_POLL = (1.0, 5.0)  # seconds between polls of a job, at first and at most
_STOPPING = 10.0  # seconds that a stopped job may take to end
_LOCAL = "MMPROD_ENGINE"
_MISUSED = (2, 126, 127)  # bad input; command not executable; command not found
_Answer = TypeVar("_Answer")


def job_name(kind: str, decisive: Sequence[str]) -> str:
    """The name of a job: its `kind` and a hash of `decisive`, so equal work has an equal name."""
    return f"mmprod-{kind}-{hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12]}"


def inside() -> bool:
    """Whether this process is a job that `run` has submitted."""
    return os.environ.get(fencing.VARIABLE, "").startswith(_work(""))


def run(
    settings: Ray,
    lake: Path,
    name: str,
    words: Sequence[str],
    tell: Callable[[str], None],
    driver: bool = False,
) -> dict[str, Any]:
    """Run ``mmprod WORDS --json`` on the cluster; returns the JSON it printed.

    `tell` receives the job's messages as they appear. The job's attempt number is higher than any known to
    the lake or the cluster. If a job of that `name` is running, it is followed instead of starting a second
    one. A lost job (its node died, its process was killed) is resubmitted, up to `settings.attempts` jobs in
    all. If this process gets SIGTERM or Ctrl-C, it stops the job; if it is killed, the job goes on. A
    `driver` starts tasks on the cluster (engine "ray"), and reserves nothing itself.

    Raises: InputError and StateError as the command did; StateError also if somebody stopped the job, it was
    lost too often, or the dashboard does not answer for `PATIENCE` seconds.
    """
    job = _Job(settings, lake, name, words, tell, driver)
    for attempt in range(1, settings.attempts + 1):
        with job.ending_with_us():
            content = job.follow()
            if content is not None:
                return content
            if attempt < settings.attempts:
                time.sleep(PAUSE * 2 ** (attempt - 1))
    raise StateError(
        f"Ray job {job.id} was lost, the last of {settings.attempts} attempts (ray.attempts); "
        "look at its node's memory and logs, then run again"
    )


class _Job:
    """The work called `name`, and the job that currently does it: `id` is the name and a number."""

    def __init__(
        self,
        settings: Ray,
        lake: Path,
        name: str,
        words: Sequence[str],
        tell: Callable[[str], None],
        driver: bool,
    ) -> None:
        self.settings, self.lake, self.name, self.words, self.tell = settings, lake, name, words, tell
        self.driver = driver
        self.id = ""
        self._client: Any = None

    def follow(self) -> dict[str, Any] | None:
        """Wait for the job to end; returns its JSON, or None if it was lost."""
        self._ask(self._join)
        shown, pause = 0, _POLL[0]
        while True:
            info = self._ask(self._info)  # before the log, so that the log of an ended job is complete
            log = self._log()
            shown = self._pass_on(log, shown)
            if info is None or info.status.is_terminal():
                return self._end(info, log)
            time.sleep(pause)
            pause = min(pause * 1.1, _POLL[1])

    @contextlib.contextmanager
    def ending_with_us(self) -> Iterator[None]:
        """Stop the job if this process gets SIGTERM or Ctrl-C."""

        def interrupt(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            yield
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)

    def _join(self, client: Any) -> None:
        """Attach to the running job, or submit one. Repeated after a failure, it never starts a second."""
        jobs = [job for job in client.list_jobs() if _number(self.name, job.submission_id)]
        latest = max(jobs, key=lambda job: _number(self.name, job.submission_id), default=None)
        if latest is not None and not latest.status.is_terminal():
            self.id = latest.submission_id
            self.tell(f"Ray job {self.id}: {latest.status.value.lower()}, attached")
            return
        known = _number(self.name, latest.submission_id) if latest else 0  # 0 also after a restart of the
        # head
        number = 1 + max(known, fencing.latest(self.lake, _work(self.name)))
        self.id = f"{self.name}-{number}"
        client.submit_job(
            entrypoint=_entrypoint(self.settings, self.words, f"{_work(self.name)}:{number}", self.driver),
            submission_id=self.id,
            entrypoint_num_cpus=0 if self.driver else self.settings.cpus,
            entrypoint_num_gpus=0 if self.driver else self.settings.gpus,
            entrypoint_resources={} if self.driver else self.settings.resources,
        )
        self.tell(f"Ray job {self.id}: submitted to {self.settings.address}")

    def _info(self, client: Any) -> Any:
        """The cluster's information about the job; None if it has none, e.g. after a restart of the head."""
        try:
            return client.get_job_info(self.id)
        except RuntimeError as error:
            if _status(error) == 404:
                return None
            raise

    def _log(self) -> str:
        """Everything the job has printed so far; empty if the log can't be read."""
        try:
            return str(self._client.get_job_logs(self.id))
        except (OSError, RuntimeError):
            return ""

    def _pass_on(self, log: str, shown: int) -> int:
        """Pass complete lines after the first `shown` to `tell`, except JSON; returns the lines so far."""
        lines = log.split("\n")[:-1]
        for line in lines[shown:]:
            if not line.startswith("{"):
                self.tell(line)
        return max(shown, len(lines))

    def _end(self, info: Any, log: str) -> dict[str, Any] | None:
        status = info.status.value if info else "forgotten by the cluster"
        code = info.driver_exit_code if info else None
        told = _printed(log or (info.message if info else ""))
        if status == "SUCCEEDED" and told is not None:
            return told
        if status == "STOPPED":
            raise StateError(f"Ray job {self.id} was stopped by somebody; run the command again")
        if status == "SUCCEEDED" or code is None or code < 0 or code > 128:
            reason = "its log is gone" if status == "SUCCEEDED" else info.message if info else status
            self.tell(f"Ray job {self.id} was lost: {_brief(reason)}")
            return None
        kind = InputError if code in _MISUSED else StateError
        raise kind((told or {}).get("error") or f"Ray job {self.id} ended with exit code {code}, see above")

    def _stop(self) -> None:
        if not self.id:
            return
        self.tell(f"Ray job {self.id}: stopping")
        with contextlib.suppress(OSError, RuntimeError):
            self._client.stop_job(self.id)
            until = time.monotonic() + _STOPPING
            while time.monotonic() < until and not self._client.get_job_status(self.id).is_terminal():
                time.sleep(0.2)

    def _ask(self, question: Callable[[Any], _Answer]) -> _Answer:
        """Call `question` with a client; retry while the dashboard does not answer."""
        until, pause = time.monotonic() + PATIENCE, 1.0
        while True:
            try:
                self._client = self._client or _client(self.settings.address)
                return question(self._client)
            except (OSError, RuntimeError) as error:
                if 400 <= _status(error) < 500:
                    raise InputError(f"Ray at {self.settings.address}: {_brief(str(error))}") from error
                if time.monotonic() + pause > until:
                    raise self._away(error) from error
                self.tell(f"waiting for Ray at {self.settings.address}: {_brief(str(error))}")
            time.sleep(pause)
            pause = min(2 * pause, 30)

    def _away(self, error: Exception) -> StateError:
        return StateError(
            f"Ray at {self.settings.address} (ray.address) has not answered for {PATIENCE:.0f} s: "
            f"{_brief(str(error))}; check that the cluster runs, then run again: a running job is attached to"
        )


def _client(address: str) -> Any:
    try:
        client = job_submission.JobSubmissionClient
    except ImportError as error:
        raise InputError('engine = "ray" needs Ray: pip install "mmprod[ray]"') from error

    class Client(client):  # type: ignore[misc, valid-type]
        """With a timeout: Ray's own client waits for a response for ever."""

        def _do_request(self, *args: Any, **options: Any) -> Any:
            return super()._do_request(*args, timeout=_TIMEOUT, **options)

    try:
        return Client(address)
    except ValueError as error:
        raise InputError(f"ray.address is {address!r}: {_brief(str(error))}") from error


def _work(name: str) -> str:
    """The name under which the lake registers attempts at the job's work."""
    return f"ray/{name}"


def _entrypoint(ray: Ray, words: Sequence[str], attempt: str, driver: bool) -> str:
    """The shell line of a job.

    It sets our MMPROD_… variables, the threads (the job's cores) and the attempt, which supersedes earlier
    ones."""
    ours = (fencing.VARIABLE, _LOCAL)
    settings = [
        f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("MMPROD_") and k not in ours
    ]
    engine = "ray" if driver else "local"
    ours_now = {threads.SHARE: max(1, int(ray.cpus)), fencing.VARIABLE: attempt, _LOCAL: engine}
    settings += [f"{name}={value}" for name, value in ours_now.items()]
    line = ["env", *settings, *shlex.split(ray.command), *words, "--json"]
    return "exec " + shlex.join(line)


def _number(name: str, job: str | None) -> int:
    """The number of a job of that name, from 1; 0 for other jobs."""
    found = re.fullmatch(re.escape(name) + r"-(\d+)", job or "")
    return int(found[1]) if found else 0


def _printed(log: str) -> dict[str, Any] | None:
    """The last line that is a JSON object; None if there is none."""
    for line in reversed(log.split("\n")):
        with contextlib.suppress(ValueError):
            if line.startswith("{"):
                told: dict[str, Any] = json.loads(line)
                return told
    return None


def _status(error: Exception) -> int:
    """The HTTP status in the message of Ray's client; 0 if there was no response."""
    found = re.search(r"status code (\d{3})", str(error))
    return int(found[1]) if found else 0


def _brief(text: str) -> str:
    """The first line of a message, or the last line of a traceback; at most 300 characters."""
    lines = [line for line in text.strip().split("\n") if line.strip()]
    first, last = (lines[0], lines[-1]) if lines else ("", "")
    return (last if "Traceback" in first else first)[:300]
