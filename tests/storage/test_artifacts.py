"""Artifacts are complete or absent, never overwritten, and damage is reported."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmprod.storage import artifacts, checked_json
from mmprod.storage.errors import InputError, StateError


def publish(root: Path, text: str, switch: bool = True) -> str:
    with artifacts.publishing(root, "note", {"text": text}, {"loud": True}) as draft:
        (draft.path / "part").mkdir()
        (draft.path / "note.txt").write_text(text)
        (draft.path / "part" / "copy.txt").write_text(text)
        draft.counts["letters"] = len(text)
    if switch:
        artifacts.switch(root, draft.generation)
    return draft.generation


def test_a_generation_says_what_it_is_made_of(tmp_path: Path) -> None:
    name = publish(tmp_path, "hello")
    with artifacts.opened(tmp_path) as opened:
        assert opened.generation == name == "g000001"
        assert opened.manifest.inputs == {"text": "hello"}
        assert opened.manifest.counts == {"letters": 5}
        assert set(opened.manifest.files) == {"note.txt", "part/copy.txt"}
        assert "pyarrow" in opened.manifest.versions


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    with pytest.raises(RuntimeError), artifacts.publishing(tmp_path, "note", {}, {}) as draft:
        (draft.path / "note.txt").write_text("half")
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CURRENT", "g000001"]


def test_same_inputs_are_reused_and_others_are_not(tmp_path: Path) -> None:
    name = publish(tmp_path, "one")
    assert artifacts.reusable(tmp_path, {"text": "one"}, {"loud": True}) == name
    assert artifacts.reusable(tmp_path, {"text": "two"}, {"loud": True}) is None
    assert artifacts.reusable(tmp_path, {"text": "one"}, {"loud": False}) is None
    (tmp_path / name / "note.txt").write_text("onE")
    assert artifacts.reusable(tmp_path, {"text": "one"}, {"loud": True}) is None


def test_what_was_published_but_not_switched_to_is_not_made_twice(tmp_path: Path) -> None:
    """As a process leaves it that is killed between the two."""
    publish(tmp_path, "one")
    with artifacts.publishing(tmp_path, "note", {"text": "two"}, {"loud": True}) as draft:
        (draft.path / "note.txt").write_text("two")
    assert artifacts.current(tmp_path) == "g000001"
    assert artifacts.reusable(tmp_path, {"text": "two"}, {"loud": True}) == draft.generation
    assert artifacts.current(tmp_path) == draft.generation
    (tmp_path / draft.generation / "note.txt").write_text("twO")
    artifacts.switch(tmp_path, "g000001")
    assert artifacts.reusable(tmp_path, {"text": "two"}, {"loud": True}) is None
    assert artifacts.current(tmp_path) == "g000001"


@pytest.mark.parametrize("name", ["note.txt", "part/copy.txt", "manifest.json"])
def test_every_flipped_byte_is_reported(tmp_path: Path, name: str) -> None:
    generation = tmp_path / publish(tmp_path, "hello world")
    path = generation / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 40)):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        assert artifacts.verify(generation), f"byte {position} of {name} flipped unnoticed"
        with pytest.raises(StateError), artifacts.opened(tmp_path):
            pass
    path.write_bytes(whole)
    assert artifacts.verify(generation) == []


def test_missing_and_unknown_files_are_reported(tmp_path: Path) -> None:
    generation = tmp_path / publish(tmp_path, "hello")
    (generation / "extra.txt").write_text("?")
    (generation / "note.txt").unlink()
    assert artifacts.verify(generation) == ["note.txt is missing", "extra.txt is not in the manifest"]


def test_a_pointer_to_nothing_is_an_error_and_rollback_cures_it(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    (tmp_path / "CURRENT").write_text("g999999\n")
    with pytest.raises(StateError, match="g999999"):
        artifacts.current(tmp_path)
    assert artifacts.rollback(tmp_path) == "g000001"


def test_rollback_goes_to_the_one_before_and_refuses_damage(tmp_path: Path) -> None:
    first, second = publish(tmp_path, "one"), publish(tmp_path, "two")
    assert artifacts.current(tmp_path) == second
    assert artifacts.rollback(tmp_path) == first
    with pytest.raises(InputError, match="nothing older"):
        artifacts.rollback(tmp_path)
    (tmp_path / second / "note.txt").write_text("?")
    with pytest.raises(StateError, match="sha256"):
        artifacts.rollback(tmp_path, second)
    assert artifacts.current(tmp_path) == first


def test_prune_keeps_the_newest_the_current_and_what_is_read(tmp_path: Path) -> None:
    names = [publish(tmp_path, text) for text in "abcde"]
    artifacts.switch(tmp_path, names[0])
    with artifacts.opened(tmp_path, names[1]):
        assert artifacts.prune(tmp_path, keep=1) == names[2:4]
    assert artifacts.generations(tmp_path) == [names[0], names[1], names[4]]
    assert artifacts.prune(tmp_path, keep=1) == [names[1]]


def test_readers_see_the_old_or_the_new_never_a_mix(tmp_path: Path) -> None:
    publish(tmp_path, "0" * 64)
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            with artifacts.opened(tmp_path) as opened:
                one = (opened.path / "note.txt").read_text()
                if one != (opened.path / "part" / "copy.txt").read_text() or len(set(one)) != 1:
                    torn.append(one)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(40):
        publish(tmp_path, str(number % 10) * 64)
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


@pytest.mark.parametrize("action", ["kill", "enospc", "eio"])
@pytest.mark.parametrize(
    ("point", "seen"),
    [("artifact.written", "one"), ("artifact.published", "one"), ("artifact.switched", "two")],
)
def test_a_fault_at_any_point_leaves_the_old_or_the_new(
    tmp_path: Path, point: str, seen: str, action: str
) -> None:
    publish(tmp_path, "one")
    code = f"""
from pathlib import Path
from mmprod.storage import artifacts
root = Path({str(tmp_path)!r})
with artifacts.publishing(root, "note", {{"text": "two"}}, {{}}) as draft:
    (draft.path / "note.txt").write_text("two")
artifacts.switch(root, draft.generation)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MMPROD_FAULT": f"{point}:1:{action}"},
        capture_output=True,
    )
    assert done.returncode == (-9 if action == "kill" else 1)
    with artifacts.opened(tmp_path) as opened:
        assert (opened.path / "note.txt").read_text() == seen
    publish(tmp_path, "three")  # a retry works, and leftovers are gone
    assert not list(tmp_path.glob(".draft-*"))
    with artifacts.opened(tmp_path) as opened:
        assert (opened.path / "note.txt").read_text() == "three"


def test_rollback_passes_over_damaged_generations(tmp_path: Path) -> None:
    names = [publish(tmp_path, text) for text in "abc"]
    (tmp_path / names[2] / "manifest.json").write_text("{}")
    (tmp_path / names[1] / "note.txt").write_text("?")
    assert artifacts.rollback(tmp_path) == names[0]


def test_a_reference_tells_generations_of_one_name_apart(tmp_path: Path) -> None:
    assert artifacts.reference(tmp_path / "one") is None
    publish(tmp_path / "one", "a")
    publish(tmp_path / "two", "b")
    assert artifacts.reference(tmp_path / "one") != artifacts.reference(tmp_path / "two")


def test_a_manifest_of_another_version_is_an_error_not_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / publish(tmp_path, "hello")
    (folder / "manifest.json").write_text(checked_json.dump({"kind": "note", "colour": "red"}))
    with pytest.raises(StateError, match="another version"):
        artifacts.Manifest.read(folder)
