"""The settings file: whole and right, or refused with the key's name."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmprod.serving.gateway.settings import Settings
from mmprod.storage.errors import InputError

RIGHT: dict[str, Any] = {
    "folder": "/srv/server",
    "release": "/srv/releases/g000001",
    "triton": "/opt/tritonserver/bin/tritonserver",
    "backends": "/opt/tritonserver/backends",
    "models": "/srv/triton_models",
    "site": "/srv/site-packages",
    "libraries": "",
    "host": "0.0.0.0",
    "port": 8000,
    "metrics_port": 8002,
    "threads": 1,
    "config_name": "gpu",
    "shared_memory": False,
    "body_bytes": 33_554_432,
    "body_seconds": 10,
    "deadline": 5.5,
    "requests": 256,
    "start_seconds": 60,
    "probe_seconds": 5,
    "log_share": 0.01,
}


def _read(folder: Path, content: Any) -> Settings:
    (folder / "settings.json").write_text(json.dumps(content))
    return Settings.read(folder / "settings.json")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    settings = _read(tmp_path, RIGHT)
    assert settings.folder == Path("/srv/server") and settings.body_seconds == 10.0
    (tmp_path / "again.json").write_text(settings.to_json())
    assert Settings.read(tmp_path / "again.json") == settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 0),
        ("metrics_port", 65_536),
        ("port", "8000"),
        ("port", True),
        ("folder", 1),
        ("libraries", None),
        ("config_name", "tpu"),
        ("shared_memory", 1),
        ("deadline", 0),
        ("deadline", float("nan")),
        ("body_bytes", 0),
        ("body_bytes", 1.5),
        ("threads", -1),
        ("log_share", 1.01),
        ("requests", 0),
        ("nonsense", 1),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(InputError, match=key):
        _read(tmp_path, {**RIGHT, key: value})


@pytest.mark.parametrize("key", RIGHT)
def test_every_key_has_to_be_there(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=key):
        _read(tmp_path, {name: value for name, value in RIGHT.items() if name != key})


def test_unknown_and_missing_keys_are_told_apart(tmp_path: Path) -> None:
    """So a file with a key of an earlier version shows its new name."""
    earlier = {name: value for name, value in RIGHT.items() if name != "start_seconds"} | {"patience": 60}
    with pytest.raises(InputError, match="unknown keys: patience; missing keys: start_seconds"):
        _read(tmp_path, earlier)


def test_one_port_for_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="metrics_port"):
        _read(tmp_path, {**RIGHT, "metrics_port": 8000})


@pytest.mark.parametrize("content", [[], 3, "x", None])
def test_what_is_no_object_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match=r"settings\.json"):
        _read(tmp_path, content)


def test_a_file_that_is_no_json_or_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{")
    for path in (tmp_path / "settings.json", tmp_path / "none.json"):
        with pytest.raises(InputError, match="can't be read"):
            Settings.read(path)
