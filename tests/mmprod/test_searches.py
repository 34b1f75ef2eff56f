"""Saved searches: what is new and since when, categories, and lists to take away."""

import logging
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.datasets.schemas import FOUND
from mmprod.encoders.clip import Encoder
from mmprod.report.found import found_page
from mmprod.report.page import render
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.saved import FOUND_FILE, found_list, read_found, read_searches, rerun_searches
from mmprod.stages.store import open_store
from mmprod.storage import artifacts

SUNDAY, NEXT = date(2025, 3, 2), date(2025, 3, 9)
ANY = {"red mug": "", "灯": ""}


@pytest.fixture
def world(grown, tmp_path: Path) -> Any:
    """A world of the test's own, after its first day."""
    shutil.copytree(grown.folder, tmp_path / "world")
    return type(grown)(tmp_path / "world")


@pytest.fixture
def encoder(world) -> Encoder:
    return load_encoder(world.lake, world.config)


def found(world) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["text"], row["product_id"]): row for row in read_found(world.lake).to_pylist()}


def test_what_is_new_is_counted_and_dated(world, encoder: Encoder) -> None:
    first = rerun_searches(world.lake, encoder, ANY, "selection", 5, SUNDAY)
    assert (first.detail["rows"], first.detail["new"]) == (10, 10)
    assert rerun_searches(world.lake, encoder, ANY, "selection", 5, NEXT).reused == 2
    assert artifacts.generations(world.lake.found) == ["g000001"]
    before = found(world)
    assert {row["since"] for row in before.values()} == {SUNDAY}
    world.run(2)
    second = rerun_searches(world.lake, encoder, ANY, "selection", 5, NEXT)
    after = found(world)
    assert second.detail["new"] == len(after.keys() - before.keys())
    assert {key for key, row in after.items() if row["since"] == SUNDAY} == after.keys() & before.keys()
    with open_store(world.lake, world.config) as store:
        new = found_list(world.lake, store, NEXT).to_pylist()
    assert {(row["text"], row["product_id"]) for row in new} == after.keys() - before.keys()


def test_a_search_added_later_and_one_in_a_category_stand_alone(world, encoder: Encoder) -> None:
    rerun_searches(world.lake, encoder, {"lamp": ""}, "selection", 3, SUNDAY)
    both = {"lamp": "Home > Lighting", "red mug": ""}
    outcome = rerun_searches(world.lake, encoder, both, "selection", 3, NEXT)
    assert outcome.detail["new"] == 6, "in a category it is another search"
    with open_store(world.lake, world.config) as store:
        rows = found_list(world.lake, store).to_pylist()
    assert [row["text"] for row in rows] == ["lamp"] * 3 + ["red mug"] * 3
    assert all(row["category"].startswith("Home > Lighting") for row in rows[:3])
    assert all(row["title"] for row in rows)


def test_an_unknown_category_does_not_stop_the_others(
    world, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    searches = {"lamp": "Home > Lihgting", "mug": ""}
    with caplog.at_level(logging.WARNING):
        outcome = rerun_searches(world.lake, encoder, searches, "selection", 3, SUNDAY)
    assert (outcome.rows, outcome.changed, outcome.refused) == (2, 1, 1)
    assert "'lamp'" in caplog.text and "'Home > Lighting'" in caplog.text
    assert set(read_found(world.lake)["text"].to_pylist()) == {"mug"}


def test_finds_of_an_earlier_version_are_found_anew(world, encoder: Encoder) -> None:
    old = pa.table({"text": ["lamp"], "product_id": ["x"], "rank": [1], "score": [0.5]})
    with artifacts.publishing(world.lake.found, "found", {}, {}) as draft:
        pq.write_table(old, draft.path / FOUND_FILE, write_page_checksum=True)
    artifacts.switch(world.lake.found, draft.generation)
    assert read_found(world.lake).equals(FOUND.empty_table())
    assert rerun_searches(world.lake, encoder, ANY, "selection", 5, SUNDAY).detail["new"] == 10


def test_a_file_of_searches(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("Red  Mug\nlamp\tHome > Lighting \n\n", "utf-8")
    assert read_searches(path) == {"Red Mug": "", "lamp": "Home > Lighting"}


def test_the_page_shows_each_search_with_its_days(world, encoder: Encoder) -> None:
    rerun_searches(world.lake, encoder, {"mug": "", "lamp": "Home > Lighting"}, "selection", 3, SUNDAY)
    with open_store(world.lake, world.config) as store:
        page = render(found_page(store, found_list(world.lake, store)))
    assert "lamp in Home &gt; Lighting" in page and "3 products" in page
    assert page.count("2025-03-02") >= 6 and page.count("data:image/jpeg") == 6


def test_the_command_writes_what_is_asked_for(world, encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("red mug\nlamp\tHome > Lighting\n", "utf-8")
    words = [
        "searches",
        "run",
        str(tmp_path / "texts.txt"),
        "--top",
        "4",
        "--config",
        str(world.folder / "mmprod.toml"),
    ]

    def run(*more: str) -> Any:
        return CliRunner().invoke(app, [*words, *more])

    assert run("--out", str(tmp_path / "all.xlsx")).exit_code == 0
    heading, *rows = load_workbook(tmp_path / "all.xlsx").active.iter_rows(values_only=True)
    assert heading == (*FOUND.names, "title", "category") and len(rows) == 8
    assert run("--out", str(tmp_path / "new.csv"), "--since", "2999-01-01").exit_code == 0
    assert (tmp_path / "new.csv").read_text("utf-8-sig").splitlines() == [",".join(heading)]
    assert run("--out", str(tmp_path / "page.html")).exit_code == 0
    assert run("--since", "2025-01-01").exit_code != 0
