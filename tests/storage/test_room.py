"""Whether something fits on a disk."""

import pickle
import shutil
from pathlib import Path

import pytest

from mmprod.storage.errors import StateError
from mmprod.storage.room import NoRoom, amount, free, require


def test_what_does_not_fit_is_refused_with_both_figures(tmp_path: Path) -> None:
    there = shutil.disk_usage(tmp_path).free
    with pytest.raises(StateError, match=r"an index takes about 3,000,000 GB, .* are free at") as refused:
        require("an index", 3 * 10**15, tmp_path)
    assert f"{amount(there)[:2]}" in str(refused.value)
    assert "`mmprod prune`" in str(refused.value)


def test_a_twentieth_is_spared(tmp_path: Path) -> None:
    there = shutil.disk_usage(tmp_path).free
    require("an index", int(there * 0.9), tmp_path)
    with pytest.raises(StateError, match="not enough disk"):
        require("an index", int(there * 0.99), tmp_path)


def test_a_folder_that_is_not_there_yet_has_the_room_of_its_place(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = shutil.disk_usage(tmp_path).free
    assert free(Path("not/there/yet")) == pytest.approx(there, rel=0.05)
    require("nothing", 0, Path("not/there/yet"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 MB"),
        (12_345, "0.0123 MB"),
        (999_000_000, "999 MB"),
        (1_000_000_000, "1 GB"),
        (12_345_678_901, "12.3 GB"),
        (2_500_000_000_000, "2,500 GB"),
    ],
)
def test_bytes_are_told_in_three_figures(count: int, text: str) -> None:
    assert amount(count) == text


def test_a_process_can_hand_it_to_another(tmp_path: Path) -> None:
    error = NoRoom("a batch", tmp_path, "No space left on device", 1 << 20)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, NoRoom)
    assert str(again).partition(";")[0] == str(error).partition(";")[0]  # what is free may change
    assert "No space left on device" in str(again)
