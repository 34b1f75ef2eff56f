"""Configuration: order of the layers, where values come from, and what is refused."""

from pathlib import Path

import pytest

from mmprod.config import Config, load
from mmprod.storage.errors import InputError


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "mmprod.toml"
    path.write_text('lake = "here"\n[encoder]\nbatch = 8\n[recall]\nk = 3\n')
    return path


def test_command_line_over_environment_over_file_over_default(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(toml).config.encoder.batch == 8
    monkeypatch.setenv("MMPROD_ENCODER__BATCH", "16")
    assert load(toml).config.encoder.batch == 16
    loaded = load(toml, {"encoder.batch": 32, "recall.k": None})
    assert loaded.config.encoder.batch == 32
    assert loaded.config.recall.k == 3
    origins = {key: origin for key, _, origin in loaded.rows()}
    assert origins["encoder.batch"] == "command line"
    assert origins["recall.k"] == str(toml)
    assert origins["index.factory"] == "default"


def test_paths_are_relative_to_the_file(toml: Path) -> None:
    assert load(toml).config.lake == toml.parent / "here"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[encoder]\nbatsh = 8\n", "did you mean encoder.batch"),
        ("colour = 1\n", "colour: unknown key"),
        ("[serving]\npatience = 60\n", "serving.patience: is now serving.start_seconds"),
        ("[review]\nsettle = 1\n", "review.settle: is now review.stable_seconds"),
        ("[encoder]\nbatch = 0\n", "encoder.batch"),
        ("[profiles.odd]\nimage = 0.5\ntext = 0.6\n", "sum to 1"),
        ("[profiles.odd]\nimage = nan\ntext = 1\n", "profiles.odd"),
        ("[profiles.odd]\nimage = -1\ntext = 2\n", "profiles.odd"),
        ("[profiles.odd]\nimage = 0\ntext = 0\n", "sum to 1"),
        ("[recall]\nk = 0\n", "recall.k"),
        ("[index]\nnprobe = -1\n", "index.nprobe"),
        ('[review]\nprofile = "none"\n', "no profile 'none'"),
        (
            '[review]\nmeasures = ["P@5", "nDCG@5"]\n',
            "review.measures.* 'nDCG@5' is unknown; write one of precision",
        ),
        ("[encoder\n", "can't be read"),
    ],
)
def test_bad_values_are_refused_by_name_and_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load(path)


def test_an_unknown_environment_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPROD_ENCODR__BATCH", "16")
    with pytest.raises(InputError, match="MMPROD_ENCODR__BATCH"):
        load()


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().lake = Path("other")  # type: ignore[misc]


@pytest.mark.parametrize("agent", ["", " shop", "shop\r\nHost: elsewhere", "shop\n", "Läden", "a\tb"])
def test_what_hosts_are_told_is_a_header_of_one_line(agent: str) -> None:
    with pytest.raises(InputError, match="user_agent"):
        load(None, {"images.user_agent": agent})
    told = "Shop pictures (+https://shop.example; ops@shop.example)"
    assert load(None, {"images.user_agent": told}).config.images.user_agent == told


def test_secrets_of_a_library_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "mmprod.toml"
    path.write_text('[table.options]\naws_region = "eu-1"\naws_secret_access_key = "hush"\n')
    loaded = load(path)
    assert loaded.config.table.options["aws_secret_access_key"] == "hush"
    shown = {key: value for key, value, _ in loaded.rows()}
    assert shown["table.options.aws_region"] == "eu-1"
    assert shown["table.options.aws_secret_access_key"] == "(hidden)"
