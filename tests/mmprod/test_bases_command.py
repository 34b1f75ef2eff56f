"""`mmprod make-base`: a folder that loads, whole or not at all."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.encoders.clip import load

runner = CliRunner()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    titles = ["red dress", "红色 连衣裙", None, "LED lamp"]
    rows = {"product_id": ["1", "2", "3", "4"], "title": titles, "image_path": ["a.jpg"] * 4}
    pq.write_table(pa.table(rows), tmp_path / "products.parquet")
    return tmp_path / "products.parquet"


@pytest.mark.parametrize("kind", ["clip", "siglip", "chinese-clip", "blip"])
def test_a_base_is_written_and_loads(kind: str, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bases" / kind
    told = runner.invoke(
        app, ["make-base", kind, str(folder), "--table", str(table), "--width", "32", "--json"]
    )
    assert told.exit_code == 0, told.output
    content = json.loads(told.output)
    encoder = load(content["model"])
    assert (encoder.fingerprint, encoder.width) == (content["fingerprint"], 32)
    assert [path.name for path in folder.parent.iterdir()] == [kind], "a draft was left behind"


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--width", "40"], "multiple of 32"), (["--table", "none.parquet"], "none.parquet")],
)
def test_what_can_not_be_made_leaves_nothing(
    options: list[str], told: str, table: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    done = runner.invoke(app, ["make-base", "siglip", str(folder), "--table", str(table), *options])
    assert done.exit_code == 2
    assert told in done.output
    assert not folder.exists()


def test_a_folder_that_is_there_is_left_alone(table: Path, tmp_path: Path) -> None:
    done = runner.invoke(app, ["make-base", "clip", str(tmp_path), "--table", str(table)])
    assert done.exit_code == 2
    assert "already" in done.output
    assert table.is_file()
