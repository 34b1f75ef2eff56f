"""Releases: whole, reused, switched only when they answer; thresholds of the right encoder only."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mmprod.config import Config, load
from mmprod.lake import Lake
from mmprod.stages.online.release import current_release, make_release
from mmprod.stages.training.export import export_served
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError, StateError


def _with(world: Any, **keys: Any) -> Config:
    return load(
        world.folder / "mmprod.toml", {f"serving.{name}": value for name, value in keys.items()}
    ).config


def test_a_release_is_whole_and_linked(world: Any) -> None:
    release = world.release
    assert not artifacts.verify(release.path)
    assert set(release.profiles) == {"same_item", "similar_item", "selection"}
    original = world.lake.index("same_item") / release.profiles["same_item"].generation / "index.faiss"
    assert (release.index("same_item") / "index.faiss").samefile(original)
    assert release.profiles["same_item"].thresholds == {"all": 0.8, "Home > Lighting": 0.6}
    assert release.profiles["selection"].thresholds == {}


def test_the_same_again_is_kept_and_a_change_makes_another(own: Any) -> None:
    assert make_release(own.lake, own.config).reused == 3
    outcome = make_release(own.lake, _with(own, profiles=("selection",)))
    assert outcome.changed == 1 and current_release(own.lake).path.name == "g000002"


def test_it_outlives_the_index_it_was_made_from(own: Any) -> None:
    shutil.rmtree(own.lake.index("same_item"))
    assert not artifacts.verify(own.release.path)


def test_without_an_engine_it_says_what_to_do(own: Any) -> None:
    with pytest.raises(StateError, match="run `mmprod export onnx --precision fp16`"):
        make_release(own.lake, _with(own, engine="onnx-fp16"))
    assert current_release(own.lake).path.name == "g000001"


def test_a_missing_engine_is_exported_and_then_released(own: Any) -> None:
    assert export_served(own.lake, own.config).reused == 2
    half = _with(own, engine="onnx-fp16")
    assert export_served(own.lake, half).changed == 2
    assert make_release(own.lake, half).changed == 3
    assert artifacts.verify(current_release(own.lake).path) == []


def test_a_damaged_index_is_not_released(own: Any) -> None:
    path = own.lake.index("selection") / "g000001" / "index.faiss"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StateError, match="damaged"):
        make_release(own.lake, _with(own, max_k=7))
    assert current_release(own.lake).limits.k == 1000


def test_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="run `mmprod release build` first"):
        current_release(Lake(tmp_path))
    with pytest.raises(InputError, match=r"serving\.profiles is empty"):
        make_release(Lake(tmp_path), load(overrides={"lake": str(tmp_path), "serving.profiles": ()}).config)


def test_a_release_of_another_form_is_made_anew(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older version's release lacks what this one's service needs."""
    monkeypatch.setattr("mmprod.stages.online.release._FORM", 0)
    assert make_release(own.lake, own.config).changed == 3
