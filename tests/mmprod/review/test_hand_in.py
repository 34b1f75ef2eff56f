"""Files as they are handed in: they change, they fail, their reviewer is unknown."""

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmprod.config import Config
from mmprod.sections import Review
from mmprod.stages.review import judgements
from mmprod.stages.review.judgements import collect, collect_inbox, read_judgements
from mmprod.stages.review.survey import sample
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError


@pytest.fixture
def day(grown, tmp_path: Path):
    """A lake of the test's own, after its first day."""
    shutil.copytree(grown.folder, tmp_path / "world")
    return replace(grown, folder=tmp_path / "world")


def with_review(config: Config, **changed: object) -> Config:
    return config.model_copy(update={"review": config.review.model_copy(update=changed)})


def sheet_of(day, config: Config, folder: Path, reviewer: str = "anna") -> Path:
    """A sheet with every pair the same, as `reviewer` hands it in."""
    with open_store(day.lake, config) as store:
        sheet = Path(sample(day.lake, config, store).detail["sheet"])
    rows = list(csv.DictReader(sheet.read_text("utf-8-sig").splitlines()))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{reviewer}.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"label": "yes", "reviewer": reviewer} for row in rows)
    return folder / f"{reviewer}.csv"


def test_a_file_that_fails_holds_up_no_other_and_is_put_aside_the_second_time(day, monkeypatch) -> None:
    config, inbox = with_review(day.config, stable_seconds=0), day.lake.inbox
    sheet_of(day, config, inbox)
    (inbox / "abyss.csv").write_text("pair_id,anchor_id,product_id,label,reviewer\n")
    os.utime(inbox / "abyss.csv", (1, 1))
    read_copy = judgements.read_copy

    def short_of_memory(file, *args, **options):
        if "abyss" in file.origin.name:
            raise MemoryError("no more")
        return read_copy(file, *args, **options)

    monkeypatch.setattr(judgements, "read_copy", short_of_memory)
    with open_store(day.lake, config) as store:
        first, second = collect_inbox(day.lake, config, store)
        assert "MemoryError" in first.detail["why"] and second.changed > 0
        (again,) = collect_inbox(day.lake, config, store)
        assert again.refused and collect_inbox(day.lake, config, store) == []
    (why,) = (inbox / "returned").iterdir()
    assert "reading it failed (MemoryError: no more); the time before" in why.read_text()


def test_what_is_added_to_a_file_after_it_was_read_is_read_the_next_time(day, monkeypatch) -> None:
    """Never a mixture: first the file as it was, then as it is."""
    config = with_review(day.config, stable_seconds=0)
    path = sheet_of(day, config, day.lake.inbox)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    read_copy = judgements.read_copy

    def disturbed(file, *args, **options):
        if file.origin.stat().st_size < 2000:
            with file.origin.open("ab") as late:
                late.writelines(lines[3:])
        return read_copy(file, *args, **options)

    monkeypatch.setattr(judgements, "read_copy", disturbed)
    with open_store(day.lake, config) as store:
        (first,) = collect_inbox(day.lake, config, store)
        assert "after it had been read" in first.detail["why"]
        assert read_judgements(day.lake).num_rows == 2
        (second,) = collect_inbox(day.lake, config, store)
    assert (second.rows, second.changed) == (len(lines) - 1, len(lines) - 1)
    (done,) = (day.lake.inbox / "done").iterdir()
    assert done.read_bytes() == b"".join(lines)


def test_a_reviewer_nobody_knows_is_rejected_until_named(day, tmp_path: Path) -> None:
    config = with_review(day.config, reviewers=("anna", "ben"), adjudicators=("dora",), overlap=1.0)
    sheet = sheet_of(day, config, tmp_path, "dorra")
    with open_store(day.lake, config) as store:
        outcome = collect(day.lake, config, store, sheet)
        assert outcome.refused == outcome.rows > 0
        assert "did you mean 'dora'?" in Path(outcome.detail["rejected_file"]).read_text("utf-8-sig")
        config = with_review(config, reviewers=("anna", "dorra"))
        assert collect(day.lake, config, store, sheet).changed == outcome.rows  # the same file, put right


def test_an_encoding_is_declared_in_the_configuration(day, tmp_path: Path) -> None:
    sheet = sheet_of(day, day.config, tmp_path)
    text = sheet.read_text("utf-8-sig").replace(",anna", ",HÉLÈNE")
    rows = [line for line in text.splitlines() if line.replace("HÉLÈNE", "").isascii()]
    sheet.write_text("\n".join(rows), "cp1252")
    with open_store(day.lake, day.config) as store:
        with pytest.raises(InputError, match=r"it can't be told which; .*`review\.encoding`"):
            collect(day.lake, day.config, store, sheet)
        assert (
            collect(day.lake, with_review(day.config, encoding="cp1252"), store, sheet).changed
            == len(rows) - 1
        )
    assert set(read_judgements(day.lake)["reviewer"].to_pylist()) == {"HÉLÈNE"}


def test_names_and_encodings_of_the_configuration_are_checked() -> None:
    assert Review(reviewers=("Jose\u0301  Li",)).reviewers == ("José Li",)
    with pytest.raises(ValueError, match="there is no text encoding 'nonsense'"):
        Review(encoding="nonsense")
