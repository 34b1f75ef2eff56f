"""Whole tables that are refused say why, and days that nobody meant."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.config import Config, load
from mmprod.lake import Lake
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.outcome import Outcome
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError

DAY = date(2025, 3, 1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "mmprod.toml").write_text('lake = "lake"\n')
    return load(tmp_path / "mmprod.toml").config


def ingest(config: Config, text: str, day: date = DAY, **options: bool) -> Outcome:
    path = config.lake.parent / "p.csv"
    path.write_text(text)
    lake = Lake(config.lake)
    with lake.writing(), open_store(lake, config, read_only=False) as store:
        return ingest_table(lake, config, store, path, day, **options)


def table(ids: list[str]) -> str:
    return "product_id,title,sales\n" + "".join(f"{name},Mug,{n}\n" for n, name in enumerate(ids))


def test_a_table_without_a_usable_row_names_reasons_and_leaves_its_rows(config: Config) -> None:
    with pytest.raises(InputError) as caught:
        ingest(config, table(["1.2E+10", "", "3.4E+11"]))
    told = str(caught.value)
    assert "2 id_scientific, first p.csv:2; 1 id_missing, first p.csv:3" in told
    (left,) = (config.lake / "quarantine").iterdir()
    assert str(left) in told
    assert left.read_text("utf-8-sig").split() == [
        *(
            "source,product_id,reason",
            "p.csv:2,,id_scientific",
            "p.csv:3,,id_missing",
            "p.csv:4,,id_scientific",
        )
    ]


def test_the_guard_against_mass_removal_names_the_reasons_too(config: Config) -> None:
    ids = [f"{n:03}" for n in range(40)]
    ingest(config, table(ids))
    spoiled = [name if n < 10 else f"1.{name}E+10" for n, name in enumerate(ids)]
    with pytest.raises(InputError, match=r"leaves out 30 of 40 live products") as caught:
        ingest(config, table(spoiled), DAY + timedelta(1))
    assert "30 id_scientific, first p.csv:12" in str(caught.value)


def test_figures_that_cannot_be_read_are_counted_and_listed(config: Config) -> None:
    outcome = ingest(config, "product_id,title,sales\na,Mug,many\nb,Mug,1.2万\n'007,Mug,3\n")
    assert (outcome.refused, outcome.detail["figures_unread"], outcome.detail["ids_plain"]) == (0, 1, 1)
    lake = Lake(config.lake)
    with open_store(lake, config) as store:
        assert [store.get(i).sales for i in ("a", "b", "007")] == [None, 12_000, 3]  # type: ignore[union-attr]
    from mmprod.storage import parquet

    changes = parquet.read(next(lake.changes.glob("g*/changes.parquet"))).to_pylist()
    assert [(c["product_id"], c["reason"]) for c in changes if c["kind"] == "figure_unread"] == [
        ("a", "sales:many")
    ]


def test_words_that_would_empty_the_shop_stop_the_day(config: Config) -> None:
    text = "product_id,title,state\n" + "".join(f"{n:03},Mug,in stock\n" for n in range(40))
    settings = 'lake = "lake"\n[table]\nlive = { column = "state", values = ["%s"] }\n'
    file = config.lake.parent / "mmprod.toml"
    file.write_text(settings % "in stock")
    right = load(file).config
    assert ingest(right, text).changed == 40
    file.write_text(settings % "in_stock")
    with pytest.raises(InputError, match="no usable row of a live product"):
        ingest(load(file).config, text, DAY + timedelta(1))
    half = text.replace("0,Mug,in stock", "0,Mug,sold out").replace("1,Mug,in stock", "1,Mug,sold out")
    with pytest.raises(InputError, match="leaves out 16 of 40"):
        ingest(
            right,
            half.replace("2,Mug,in stock", "2,Mug,out").replace("3,Mug,in", "3,Mug,no"),
            DAY + timedelta(1),
        )
    assert ingest(right, half, DAY + timedelta(1)).detail["removed"] == 8


def test_a_day_ahead_of_the_clock_needs_approval_and_can_be_taken_back(config: Config) -> None:
    ids = [f"{n:03}" for n in range(5)]
    ingest(config, table(ids))
    wrong = date(2205, 3, 3)
    with pytest.raises(
        InputError, match=r"2205-03-03 lies \d+ days ahead, store.days_ahead allows 2.*--approve-day"
    ):
        ingest(config, table(ids[:3]), wrong)
    tomorrow = datetime.now(UTC).date() + timedelta(1)
    assert ingest(config, table(ids), tomorrow).rows == 5
    ingest(config, table(ids[:3]), wrong, approve_day=True)
    with open_store(Lake(config.lake), config, read_only=False) as store:
        assert store.stats().live == 3
        assert store.undo_day(wrong) == 2
        assert store.stats().live == 5
    assert ingest(config, table([*ids, "new"]), tomorrow + timedelta(1)).changed == 1


def test_where_there_is_no_store_none_is_made_to_undo(config: Config) -> None:
    words = ["store", "undo-day", "--day", "2025-03-01", "--lake", str(config.lake)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "no product store here" in result.output
    assert not config.lake.exists()


def test_a_day_far_behind_is_warned_of(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    ingest(config, table(["a"]))
    ingest(config, table(["a"]), DAY - timedelta(31))
    assert "days before the latest full day" not in caplog.text
    ingest(config, table(["a"]), DAY - timedelta(3650))
    assert "2015-03-04 lies 3650 days before the latest full day, 2025-03-01" in caplog.text


def test_rows_that_may_be_parts_ask_back_and_change_nothing(config: Config) -> None:
    with pytest.raises(InputError, match=r"p\.csv:3: a later row of 'a' has no title"):
        ingest(config, "product_id,title,sales\na,Mug,1\na,,2\n")
    with open_store(Lake(config.lake), config) as store:
        assert store.stats().live == 0


def test_a_whole_run_taken_back_leaves_the_tables_of_one_that_never_was(world, content) -> None:
    other = type(world)(shutil.copytree(world.folder, world.folder.parent / "other"))
    world.run(1, 2)
    with world.lake.writing(), open_store(world.lake, world.config, read_only=False) as store:
        assert store.undo_day(world.days[1][1]) > 0
    world.run(3)
    other.run(1, 3)

    def told(folder: Path) -> dict[str, str]:
        kinds = ("store", "index", "recall")
        return {name: digest for name, digest in content(folder).items() if name.startswith(kinds)}

    assert told(world.folder) == told(other.folder)
