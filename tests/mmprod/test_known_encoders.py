"""An encoder in a folder is loaded once; then its fingerprint is known by the folder's content."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmprod.lake import Lake
from mmprod.stages.known_encoders import content_key, fingerprint_of, note


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "base"
    (folder / "part").mkdir(parents=True)
    (folder / "weights").write_bytes(b"1" * 1000)
    (folder / "part" / "config").write_text("{}")
    return f"local-dir:{folder}"


def test_what_was_noted_is_known_wherever_the_folder_lies(model: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    assert fingerprint_of(lake, model) is None
    note(lake, model, content_key(model), "f" * 64)
    assert fingerprint_of(lake, model) == "f" * 64
    moved = shutil.copytree(model.removeprefix("local-dir:"), tmp_path / "moved")
    assert fingerprint_of(lake, f"local-dir:{moved}") == "f" * 64


@pytest.mark.parametrize("change", ["a byte", "a name", "another file"])
def test_any_change_of_the_folder_makes_it_unknown(model: str, tmp_path: Path, change: str) -> None:
    lake, folder = Lake(tmp_path / "lake"), Path(model.removeprefix("local-dir:"))
    note(lake, model, content_key(model), "f" * 64)
    if change == "a byte":
        (folder / "weights").write_bytes(b"1" * 999 + b"2")
    elif change == "a name":
        (folder / "weights").rename(folder / "others")
    else:
        (folder / "new").touch()
    assert fingerprint_of(lake, model) is None


def test_nothing_is_noted_of_a_folder_that_changed_while_it_was_loaded(model: str, tmp_path: Path) -> None:
    lake, key = Lake(tmp_path / "lake"), content_key(model)
    Path(model.removeprefix("local-dir:"), "weights").write_bytes(b"2" * 1000)
    note(lake, model, key, "f" * 64)
    assert fingerprint_of(lake, model) is None


def test_a_damaged_record_is_as_none(model: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    note(lake, model, content_key(model), "f" * 64)
    record = next((lake.root / ".encoders").iterdir())
    record.write_text(record.read_text().replace("f" * 64, "e" * 64))
    assert fingerprint_of(lake, model) is None


def test_other_names_have_no_content(tmp_path: Path) -> None:
    assert content_key("ViT-B-32") is content_key(f"local-dir:{tmp_path}/missing") is None


def test_with_nothing_to_do_torch_is_not_loaded(forked, tmp_path: Path) -> None:
    def mmprod(*words: str) -> None:
        done = forked.mmprod(*words, folder=tmp_path)
        assert done.status == 0, done.err

    mmprod("sample-catalog", "shop", "--products", "84")
    mmprod("make-base", "clip", "base", "--table", "shop/train.parquet", "--width", "64")
    mmprod("ingest", "--day", "2025-03-03", "--table", "shop/day1.parquet")
    (tmp_path / "mmprod.toml").write_text('[encoder]\nmodel = "local-dir:base"\n')
    mmprod("embed")
    code = "import sys; from mmprod.cli.app import app; app(['embed'], standalone_mode=False);"
    code += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
