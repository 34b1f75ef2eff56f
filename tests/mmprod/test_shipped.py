"""Files that come with mmprod are handed out whole, and nobody's own are lost by that."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mmprod.cli.app import app
from mmprod.sections import Serving
from mmprod.shipped import copy, tree
from mmprod.stages.online.model_repository import repository
from mmprod.storage.errors import InputError, StateError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two files to be copied."""
    found = {"one.txt": tmp_path / "source" / "one.txt", "below/two.txt": tmp_path / "source" / "other.txt"}
    (tmp_path / "source").mkdir()
    for name, path in found.items():
        path.write_text(name)
    return found


def mmprod(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_what_is_missing_is_written_and_what_is_the_same_stays(
    files: dict[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    assert copy(files, target) == [target / "one.txt", target / "below" / "two.txt"]
    (target / "one.txt").unlink()
    before = (target / "below" / "two.txt").stat()
    assert copy(files, target) == [target / "one.txt"]
    assert (target / "below" / "two.txt").stat() == before
    assert copy(files, target) == []


def test_a_changed_file_is_refused_before_anything_is_written(files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "below").mkdir(parents=True)
    (target / "below" / "two.txt").write_text("my own")
    with pytest.raises(InputError, match=r"differ from what mmprod brings: below/two\.txt\..*--overwrite"):
        copy(files, target)
    assert [path.name for path in target.rglob("*.txt")] == ["two.txt"]
    assert (target / "below" / "two.txt").read_text() == "my own"
    assert len(copy(files, target, overwrite=True)) == 2
    assert (target / "below" / "two.txt").read_text() == "below/two.txt"


def test_a_target_that_can_not_be_a_folder_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        copy(files, files["one.txt"])
    (tmp_path / "target" / "one.txt").mkdir(parents=True)
    with pytest.raises(InputError, match=r"one\.txt"):
        copy(files, tmp_path / "target")


def test_bytecode_is_not_handed_out() -> None:
    for name in ("configs", "dags", "deploy", "triton_models"):
        found = tree(name)
        assert found and not any("__pycache__" in path for path in found)
    assert tree("deploy")["kubernetes/settings.json"] == ROOT / "deploy" / "kubernetes" / "settings.json"


@pytest.mark.parametrize(
    ("words", "example"),
    [
        (("airflow", "dags", "--copy"), "catalog_daily.py"),
        (("config", "recipes", "--copy"), "clip.toml"),
        (("deploy",), "deploy/airflow/settings/mmprod.toml"),
    ],
)
def test_each_command_asks_before_it_replaces(words: tuple[str, ...], example: str, tmp_path: Path) -> None:
    target = [*words, str(tmp_path / "out")]
    first = json.loads(mmprod(*target, "--json").stdout)
    assert str(tmp_path / "out" / example) in first["written"] and first["unchanged"] == 0
    second = json.loads(mmprod(*target, "--json").stdout)
    assert (second["written"], second["unchanged"]) == ([], len(first["written"]))
    (tmp_path / "out" / example).write_text("my own")
    refused = mmprod(*target)
    assert refused.exit_code == 2 and example in refused.output.replace("\n", "")
    assert (tmp_path / "out" / example).read_text() == "my own"
    assert json.loads(mmprod(*target, "--overwrite", "--json").stdout)["written"] == [
        str(tmp_path / "out" / example)
    ]


def test_where_the_dags_lie_is_all_that_is_printed() -> None:
    assert mmprod("airflow", "dags").stdout == f"{ROOT / 'dags'}\n"


def test_a_rendered_repository_follows_the_configuration_and_keeps_code(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (tmp_path / "mmprod.toml").write_text("[serving]\nbatch = 9\n")
    line = ["triton", "render", str(models), "--config", str(tmp_path / "mmprod.toml")]
    assert mmprod(*line).exit_code == 0
    assert "max_batch_size: 9\n" in (models / "text_encoder" / "config.pbtxt").read_text()
    code = models / "text_encoder" / "1" / "model.py"
    assert code.read_bytes() == (ROOT / "triton_models" / "text_encoder" / "1" / "model.py").read_bytes()
    (models / "text_encoder" / "config.pbtxt").write_text("old")
    code.write_text("my own")
    assert mmprod(*line).exit_code == 2
    assert (models / "text_encoder" / "config.pbtxt").read_text() == "old" and code.read_text() == "my own"


def test_the_server_gets_a_repository_made_anew_or_the_configured_one(tmp_path: Path) -> None:
    made = tmp_path / "models"
    assert repository(Serving(batch=9), made) == made
    (made / "left").mkdir()
    assert repository(Serving(), made) == made
    assert not (made / "left").exists()
    found = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert found == set(tree("triton_models"))
    assert "max_batch_size: 64\n" in (made / "text_encoder" / "config.pbtxt").read_text()
    own = tmp_path / "own"
    with pytest.raises(StateError, match=f"run `mmprod triton render {own}`"):
        repository(Serving(models=own), made)
    own.mkdir()
    assert repository(Serving(models=own), made) == own
    assert not list(own.iterdir())
