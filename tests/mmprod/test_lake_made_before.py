"""A small lake made by the version of November 2026 is used by this one as its own: nothing is made anew."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app

MADE = Path(__file__).with_name("lake_2026_11.tar.xz")
"""Two days of twelve products and all that is made from them, with what two searches found then."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("before")
    with tarfile.open(MADE) as archive:
        archive.extractall(path, filter="data")
    return path


@pytest.fixture
def told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)

    def run(*words: str) -> Any:
        result = CliRunner().invoke(app, [*words, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize(
    "command",
    [
        "run --day 2024-05-02 --table day2.parquet",
        "groups build",
        "features build",
        "searches run texts.txt",
        "review sample",
        "review collect labels.csv --reviewer ann",
        "evaluate survey",
    ],
)
def test_every_stage_finds_its_work_done(command: str, told) -> None:
    for stage in told(*command.split())["stages"]:
        assert (stage["changed"], stage["refused"], stage["reused"]) == (0, 0, stage["rows"]), stage


def test_every_file_is_as_it_was_published(told) -> None:
    assert told("verify") == {"problems": []}


@pytest.mark.parametrize(
    "file, words",
    [("neighbours.json", ["--product", "p05"]), ("found.json", ["red mug", "--no-fold"])],
)
def test_searches_find_what_they_found(file: str, words: list[str], told, folder: Path) -> None:
    before, now = (
        found["results"] for found in (json.loads((folder / file).read_text()), told("search", *words))
    )
    assert [hit["product_id"] for hit in now] == [hit["product_id"] for hit in before]
    assert [hit["score"] for hit in now] == pytest.approx([hit["score"] for hit in before], abs=1e-3)


def test_the_next_day_is_ingested_on_top(told, folder: Path) -> None:
    told("run", "--day", "2024-05-03", "--table", "day2.parquet")
    assert {row["what"]: row["current"] for row in told("status")["status"]}["store"] == "day 2024-05-03"
