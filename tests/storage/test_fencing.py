"""Only the attempt that entered last may publish; a stopped one is ended, or refused when it wakes up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmprod.storage import fencing
from mmprod.storage.errors import InputError, StateError

# Enters, says so, waits for a line and then publishes into a file.
_WORKER = """
import sys
from pathlib import Path
from mmprod.storage import fencing
with fencing.enter(Path(sys.argv[1])):
    print("entered", flush=True)
    sys.stdin.readline()
    with fencing.publishing():
        Path(sys.argv[1], "published").write_text(str(sys.argv[2]))
"""


def worker(folder: Path, name: str, run: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _WORKER, str(folder), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, fencing.VARIABLE: run},
    )
    assert process.stdout
    assert process.stdout.readline() == "entered\n"
    return process


def test_without_the_variable_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fencing.VARIABLE, raising=False)
    with fencing.enter(tmp_path), fencing.publishing():
        pass
    assert not list(tmp_path.iterdir())


def test_a_later_attempt_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fencing.VARIABLE, "day/index:1")
    with fencing.enter(tmp_path):
        with fencing.publishing():
            pass
        monkeypatch.setenv(fencing.VARIABLE, "day/index:2")
        with fencing.enter(tmp_path):
            pass
        told = "attempt 1 at day/index publishes nothing more: attempt 2"
        with pytest.raises(StateError, match=told), fencing.publishing():
            pytest.fail("published")


def test_an_earlier_attempt_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fencing.VARIABLE, "day/index:2")
    with fencing.enter(tmp_path):
        pass
    monkeypatch.setenv(fencing.VARIABLE, "day/index:1")
    with pytest.raises(StateError, match="attempt 2"), fencing.enter(tmp_path):
        pytest.fail("entered")


def test_other_work_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fencing.VARIABLE, "monday/index:1")
    with fencing.enter(tmp_path):
        monkeypatch.setenv(fencing.VARIABLE, "tuesday/index:7")
        with fencing.enter(tmp_path), fencing.publishing():
            pass
        with fencing.publishing():
            pass


@pytest.mark.parametrize("wanted", ["index", ":1", "index:", "index:x", "index:-1"])
def test_what_names_no_attempt_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv(fencing.VARIABLE, wanted)
    with pytest.raises(InputError, match="want work:attempt"), fencing.enter(tmp_path):
        pytest.fail("entered")


def test_a_stopped_process_is_ended_by_its_successor(tmp_path: Path) -> None:
    first = worker(tmp_path, "first", "day/index:1")
    first.send_signal(signal.SIGSTOP)
    second = worker(tmp_path, "second", "day/index:2")
    first.communicate(timeout=10)
    assert first.returncode == -signal.SIGKILL
    second.communicate("go\n", 10)
    assert second.returncode == 0
    assert (tmp_path / "published").read_text() == "second"


def test_one_that_could_not_be_ended_is_refused(tmp_path: Path) -> None:
    """As if it ran on another machine: its record names a process that isn't there."""
    first = worker(tmp_path, "first", "day/index:1")
    record = next((tmp_path / fencing.FOLDER).glob("*.json"))
    record.write_text(record.read_text().replace(f'"pid": {first.pid}', '"pid": 999999999'))
    second = worker(tmp_path, "second", "day/index:2")
    first.communicate("go\n", 10)
    assert first.returncode == 1
    assert not (tmp_path / "published").exists()
    second.communicate("go\n", 10)
    assert (tmp_path / "published").read_text() == "second"
