"""A small lake made by the version of November 2026, once migrated, is used as this version's own: nothing is
made anew."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app

MADE = Path(__file__).with_name("lake_2026_11.tar.xz")
"""Two days of twelve products and all that is made from them, with what two searches found then."""


def unpacked(path: Path) -> Path:
    with tarfile.open(MADE) as archive:
        archive.extractall(path, filter="data")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = unpacked(tmp_path_factory.mktemp("before"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        result = CliRunner().invoke(app, ["store", "migrate"])
    assert result.exit_code == 0, result.output
    assert "12 products migrated; the store as it was is kept in lake/store.format-1" in result.output
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
    found = told("verify")
    assert found["problems"] == []
    (made,) = found["vectors"].values()
    assert made == {"image": {"": 11}, "text": {"": 11}}, "what made them was not recorded then"


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


def test_before_migration_every_command_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(unpacked(tmp_path))
    for words in (
        ["store", "stats"],
        ["search", "red mug"],
        ["run", "--day", "2024-05-03", "--table", "day2.parquet"],
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code != 0
        assert "run `mmprod store migrate`" in result.output


def test_a_migration_killed_half_way_is_finished_by_the_next_command(tmp_path: Path) -> None:
    folder = unpacked(tmp_path)
    command = [Path(sys.executable).with_name("mmprod"), "store"]

    def run(word: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment}
        return subprocess.run(
            [*command, word], cwd=folder, env=env, capture_output=True, text=True, check=False
        )

    assert run("migrate", MMPROD_FAULT="store.exchange:1:kill").returncode == -signal.SIGKILL
    assert not (folder / "lake" / "store").exists()
    assert "every value is as it was written" in run("verify").stdout
    assert "the store has the present format already" in run("migrate").stdout
    assert (folder / "lake" / "store.format-1" / "store.json").exists()
