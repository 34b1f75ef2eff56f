"""Folders that are there for good: each is synced into the one above it, once, when it is made."""

import os
from collections import Counter
from pathlib import Path

import pytest

from mmprod.datasets.store.store import Store
from mmprod.storage.files import make_folder, replace_file


class Synced:
    """What each folder held when it was last synced, and how often that was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: dict[Path, set[str]] = {}
        self.times: Counter[Path] = Counter()
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_dir():
            self.held.setdefault(path, set()).update(inside.name for inside in path.iterdir())
            self.times[path] += 1
        self._real(fd)

    def missing(self, root: Path) -> list[Path]:
        """Folders below `root` that the one above them was never synced with."""
        folders = (path for path in root.rglob("*") if path.is_dir())
        return [path for path in folders if path.name not in self.held.get(path.parent, ())]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Synced:
    return Synced(monkeypatch)


def test_a_folder_is_synced_when_it_is_made_and_not_again(tmp_path: Path, synced: Synced) -> None:
    (tmp_path / "there").mkdir()
    make_folder(tmp_path / "there" / "a" / "b" / "c")
    assert synced.missing(tmp_path / "there") == []
    assert set(synced.times.values()) == {1} and tmp_path not in synced.times
    make_folder(tmp_path / "there" / "a" / "b" / "c")
    make_folder(tmp_path / "there" / "a" / "b" / "d")
    assert synced.times == {
        tmp_path / "there": 1,
        tmp_path / "there" / "a": 1,
        tmp_path / "there" / "a" / "b": 2,
    }


def test_a_relative_folder_and_a_file_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(Path("a/b"))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_a_file_in_new_folders_is_there_with_them(tmp_path: Path, synced: Synced) -> None:
    replace_file(tmp_path / "runs" / "deep" / "a.json", "{}")
    assert synced.missing(tmp_path) == []
    assert "a.json" in synced.held[tmp_path / "runs" / "deep"]


def test_a_new_store_is_there_with_its_shards_and_their_files(tmp_path: Path, synced: Synced) -> None:
    with Store.open(tmp_path / "lake" / "store", shards=3) as store:
        store.compact(tmp_path / "backups" / "copy")
    assert synced.missing(tmp_path / "lake") == []
    assert {"lake", "backups"} <= synced.held[tmp_path] and "copy" in synced.held[tmp_path / "backups"]
    for number in range(3):
        aside = tmp_path / "lake" / "store" / f".shard-{number:03}.{os.getpid()}"
        assert "data.mdb" in synced.held[aside], "before it gets its name"
