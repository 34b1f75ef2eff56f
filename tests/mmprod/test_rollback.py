"""Going back a generation: who asks twice, or two who ask at once, do not go back two."""

import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.lake import Lake
from mmprod.storage import artifacts
from mmprod.storage.errors import StateError


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three releases, the last in use."""
    lake = Lake(tmp_path / "lake")
    for number in range(3):
        with artifacts.publishing(lake.releases, "release", {"number": number}, {}) as draft:
            (draft.path / "data").write_text(str(number))
    artifacts.switch(lake.releases, "g000003")
    return lake


def test_of_two_who_go_back_at_once_the_second_is_told(lake: Lake) -> None:
    found: list[object] = []

    def back() -> None:
        try:
            found.append(lake.go_back(lake.releases, wait=True))
        except StateError as error:
            found.append(error)

    threads = [threading.Thread(target=back) for _ in range(4)]
    with lake.writing():
        for thread in threads:
            thread.start()
        time.sleep(0.3)  # all have seen what is in use, and wait for the lock
    for thread in threads:
        thread.join()
    refused = [str(error) for error in found if isinstance(error, StateError)]
    assert [name for name in found if isinstance(name, str)] == ["g000002"] and len(refused) == 3
    assert all("g000002 is in use, no longer g000003" in error for error in refused)
    assert artifacts.current(lake.releases) == "g000002"


def test_two_commands_that_name_what_to_leave_go_back_once(lake: Lake) -> None:
    words = ["release", "rollback", "--from", "g000003", "--lake", str(lake.root)]
    for _ in range(2):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0 and "the release is g000002" in done.stdout
    assert artifacts.current(lake.releases) == "g000002"


def test_who_names_where_to_go_gets_there_however_often_it_is_asked(lake: Lake) -> None:
    for _ in range(2):
        assert lake.go_back(lake.releases, "g000001") == "g000001"


def test_a_damaged_pointer_is_cured_all_the_same(lake: Lake) -> None:
    (lake.releases / "CURRENT").write_text("g000009 nothing\n")
    assert lake.go_back(lake.releases) == "g000003"


def test_a_rollback_that_has_seen_another_generation_changes_nothing(lake: Lake) -> None:
    with pytest.raises(StateError, match="g000003 is in use, no longer g000002"):
        artifacts.rollback(lake.releases, leaving="g000002")
    assert artifacts.current(lake.releases) == "g000003"


def test_an_encoder_goes_back_only_from_the_generation_that_is_named(tmp_path: Path) -> None:
    """As the DAG that undoes a promotion asks, also where nothing was promoted."""
    root = Lake(tmp_path / "lake").encoder("tiny")
    for number in range(3):
        with artifacts.publishing(root, "encoder", {"number": number}, {}) as draft:
            (draft.path / "data").write_text(str(number))
    artifacts.switch(root, "g000003")
    for only_from, now in (("none", "g000003"), ("g000003", "g000002"), ("g000003", "g000002")):
        words = ["encoder", "rollback", "--from", only_from, "--lake", str(tmp_path / "lake")]
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, done.stdout.strip()) == (0, f"lake:tiny is {now}")
