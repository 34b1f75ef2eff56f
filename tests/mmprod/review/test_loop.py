"""The review loop on a real lake: who is asked what, what comes back, what it amounts to."""

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.config import Config
from mmprod.demo.reviewer import SimulatedReviewer
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.encoder import load_encoder
from mmprod.stages.review.conflicts import write_conflicts
from mmprod.stages.review.evaluation import evaluate, judge_survey, read_assessment, read_history
from mmprod.stages.review.judgements import collect, collect_inbox, decided, read_judgements
from mmprod.stages.review.searches import read_texts, sample_searches
from mmprod.stages.review.survey import plan_survey, read_survey, sample
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError, StateError

Truth = Callable[[str, str], bool]
PROFILE = "same_item"


def with_review(config: Config, **changed: object) -> Config:
    return config.model_copy(update={"review": config.review.model_copy(update=changed)})


@pytest.fixture
def day(grown, tmp_path: Path):
    """A lake of the test's own, after its first day."""
    shutil.copytree(grown.folder, tmp_path / "world")
    return replace(grown, folder=tmp_path / "world")


@pytest.fixture
def truth(day) -> Truth:
    table = pq.read_table(day.folder / "catalogue" / "truth.parquet")
    item = dict(zip(table["product_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    return lambda a, b: item[a] == item[b]


def ask(world, config: Config, **options) -> dict:
    with open_store(world.lake, config) as store:
        return sample(world.lake, config, store, **options).detail


def answer(world, config: Config, detail: dict, truth: Truth, *reviewers: SimulatedReviewer) -> None:
    """Each reviewer fills in their own sheet, or the only one, and hands it in."""
    for reviewer in reviewers:
        own = [name for name in detail["sheets"] if name.endswith(f"-{reviewer.name}.csv")]
        filled = world.folder / f"{detail['generation']}-{reviewer.name}.csv"
        reviewer.fill_in(Path(own[0] if own else detail["sheets"][0]), filled, truth)
        with open_store(world.lake, config) as store:
            collect(world.lake, config, store, filled)


def value(metrics: pa.Table, measure: str, variant: str = "pooled", scope: str = "all") -> dict:
    wanted = (PROFILE, scope, measure, variant)
    names = ("system", "scope", "measure", "variant")
    (row,) = (row for row in metrics.to_pylist() if tuple(row[name] for name in names) == wanted)
    return row


def test_the_plan_is_what_is_then_drawn(day) -> None:
    with open_store(day.lake, day.config) as store:
        planned = plan_survey(day.lake, day.config, store)
    detail = ask(day, day.config)
    survey = read_survey(day.lake, PROFILE)
    assert detail["anchors"] == planned.total.anchors == survey.anchors.num_rows
    for row in planned.categories:
        drawn = [a for a in survey.anchors.to_pylist() if a["category"] == row.category]
        assert len(drawn) == row.anchors
        assert sum(a["weight"] for a in drawn) == pytest.approx(row.population)


def test_a_survey_is_drawn_once_and_again_for_another_model(day, truth) -> None:
    first = ask(day, day.config)
    assert ask(day, day.config)["generation"] == first["generation"]
    answer(day, day.config, first, truth, SimulatedReviewer("anna"))
    day.run(2)
    second = ask(day, day.config)
    assert second["generation"] != first["generation"]
    judged = set(read_judgements(day.lake)["pair_id"].to_pylist())
    asked = read_survey(day.lake, PROFILE).questions
    assert judged.isdisjoint(asked["pair_id"].to_pylist())
    assert second["judged before"] > 0
    assert second["asked"] < second["pairs"]


def test_what_looks_different_is_another_question(day) -> None:
    ask(day, day.config)
    before = read_survey(day.lake, PROFILE).pairs.to_pylist()
    table, _ = day.days[0]
    rows = pq.read_table(table)
    titles = [f"{title} renamed" for title in rows["title"].to_pylist()]
    renamed = rows.set_column(rows.schema.get_field_index("title"), "title", pa.array(titles))
    renamed = renamed.set_column(
        rows.schema.get_field_index("updated_at"),
        "updated_at",
        pa.array([day.days[1][1]] * len(rows)).cast(rows.schema.field("updated_at").type),
    )
    pq.write_table(renamed, day.folder / "renamed.parquet")
    with open_store(day.lake, day.config, read_only=False) as store:
        ingest_table(day.lake, day.config, store, day.folder / "renamed.parquet", day.days[1][1])
    ask(day, with_review(day.config, picture=64))
    after = read_survey(day.lake, PROFILE).pairs.to_pylist()
    asked = {(row["anchor_id"], row["product_id"]): row["pair_id"] for row in before}
    again = {(row["anchor_id"], row["product_id"]): row["pair_id"] for row in after}
    common = asked.keys() & again.keys()
    assert common
    assert all(asked[pair] != again[pair] for pair in common)


def test_figures_are_those_of_the_truth_when_everything_is_asked(day, truth) -> None:
    config = with_review(day.config, anchors_per_category=10_000, rank_bands=((3, 3),))
    answer(day, config, ask(day, config), truth, SimulatedReviewer("anna", 0.0))
    evaluate(day.lake, config, PROFILE)
    metrics = read_assessment(day.lake, PROFILE).tables["metrics"]
    rows = [r for r in read_survey(day.lake, PROFILE).candidates.to_pylist() if r["rank"] <= 3]
    hits = {(r["anchor_id"], r["rank"]): truth(r["anchor_id"], r["product_id"]) for r in rows}
    anchors = {anchor for anchor, _ in hits}
    for variant in ("judged", "pooled", "pessimistic"):
        assert value(metrics, "precision", variant)["value"] == pytest.approx(np.mean([*hits.values()]))
        three = np.mean([sum(hits[a, r] for r in (1, 2, 3)) / 3 for a in anchors])
        assert value(metrics, "P@3", variant)["value"] == pytest.approx(three)
    assert value(metrics, "precision")["n"] == len(anchors)


def test_the_inbox_takes_returns_and_refuses(day, truth) -> None:
    config = with_review(day.config, stable_seconds=0)
    detail = ask(day, config)
    inbox = day.lake.inbox
    inbox.mkdir(parents=True)
    rows = list(csv.DictReader(Path(detail["sheet"]).read_text("utf-8-sig").splitlines()))
    for number, row in enumerate(rows):
        row |= {"label": "maybe" if number == 3 else "yes", "reviewer": "anna"}
    with (inbox / "anna.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (inbox / "holiday.csv").write_text("this is no label file\n")
    (inbox / "still.csv.part").write_text("uploading")
    with open_store(day.lake, config) as store:
        outcomes = collect_inbox(day.lake, config, store)
        assert collect_inbox(day.lake, config, store) == []
    assert sorted(outcome.refused for outcome in outcomes) == [1, 1]
    assert read_judgements(day.lake).num_rows == len(rows) - 1
    returned = {
        path.name.split("-", 2)[2]: path.read_text("utf-8-sig") for path in (inbox / "returned").iterdir()
    }
    assert "maybe" in returned["anna.csv.rejected.csv"]
    assert "no comma, semicolon or tab" in returned["holiday.csv.why.txt"]
    assert [path.suffix for path in (inbox / "done").iterdir()] == [".csv"]
    why = next(path for path in (inbox / "refused").iterdir() if path.name.endswith("why.txt"))
    assert "holiday" in why.name
    assert (inbox / "still.csv.part").exists()


def test_reviewers_who_disagree_are_settled_by_an_adjudicator(day, truth, tmp_path: Path) -> None:
    config = with_review(
        day.config, reviewers=("anna", "lazy"), overlap=1.0, adjudicators=("dora",), repeat_share=0.0
    )
    detail = ask(day, config)
    assert {Path(name).name for name in detail["sheets"]} >= {"sheet-anna.csv", "sheet-lazy.html"}
    contrary = SimulatedReviewer("lazy", error_rate=1.0)
    answer(day, config, detail, truth, SimulatedReviewer("anna", 0.0), contrary)
    assert not decided(day.lake, config).same
    sheet = tmp_path / "conflicts.csv"
    with open_store(day.lake, config) as store:
        assert write_conflicts(day.lake, config, store, None, sheet) == detail["asked"] // 2
        filled = tmp_path / "dora.csv"
        SimulatedReviewer("dora", 0.0).fill_in(sheet, filled, truth)
        collect(day.lake, config, store, filled)
        assert write_conflicts(day.lake, config, store, None, sheet) == 0
    same = decided(day.lake, config).same
    for row in read_survey(day.lake, PROFILE).pairs.to_pylist():
        assert same[row["pair_id"]] == truth(row["anchor_id"], row["product_id"])
    quality = {row["reviewer"]: row for row in _evaluated(day, config).tables["quality"].to_pylist()}
    assert quality["anna"]["gold_right"] == 1
    assert quality["lazy"]["gold_right"] == 0
    assert quality["lazy"]["note"]


def test_who_is_excluded_counts_no_more(day, truth) -> None:
    config = with_review(day.config, reviewers=("anna", "lazy"), overlap=0.5, repeat_share=0.0)
    lazy = SimulatedReviewer("lazy", lazy=True)
    answer(day, config, ask(day, config), truth, SimulatedReviewer("anna", 0.0), lazy)
    without = with_review(config, excluded=("lazy",))
    answers = {row["pair_id"] for row in read_judgements(day.lake).to_pylist() if row["reviewer"] == "anna"}
    assert decided(day.lake, config).unresolved
    assert decided(day.lake, without).same.keys() == answers
    assert not decided(day.lake, without).contested
    found = _evaluated(day, without)
    assert {row["reviewer"] for row in found.tables["quality"].to_pylist()} == {"anna", "lazy"}
    assert found.agreement.pairs == 0


def _evaluated(world, config: Config):
    evaluate(world.lake, config, PROFILE)
    return read_assessment(world.lake, PROFILE)


def test_two_systems_are_pooled_and_compared(day, truth) -> None:
    detail = ask(day, day.config, also=("similar_item",))
    survey = read_survey(day.lake, PROFILE)
    assert set(survey.candidates["system"].to_pylist()) == {"same_item", "similar_item"}
    answer(day, day.config, detail, truth, SimulatedReviewer("anna"))
    differences = _evaluated(day, day.config).tables["differences"].to_pylist()
    assert {(row["a"], row["b"]) for row in differences} == {("similar_item", "same_item")}


def test_a_fall_is_told_from_one_survey_to_the_next(day, truth) -> None:
    config = with_review(day.config, anchors_per_category=1000)
    answer(day, config, ask(day, config), lambda a, b: True, SimulatedReviewer("anna", 0.0))
    assert not _evaluated(day, config).alerts
    day.run(2)
    worse = with_review(config, seed=1)
    survey = ask(day, worse)
    answer(day, worse, survey, lambda a, b: False, SimulatedReviewer("anna", 0.0))
    alerts = _evaluated(day, worse).alerts
    assert alerts
    assert "precision" in alerts[0]
    assert len(set(read_history(day.lake, PROFILE)["made_at"].to_pylist())) == 2


def test_searches_by_pictures_and_by_words_are_asked_about_together(day) -> None:
    texts = read_texts(_texts(day.folder / "texts.txt"))
    encoder = load_encoder(day.lake, day.config)
    with open_store(day.lake, day.config) as store:
        detail = sample_searches(day.lake, day.config, store, encoder, texts).detail
    survey = read_survey(day.lake, "search")
    assert survey.anchors["text"].to_pylist() == ["red mug", "black lamp"]
    assert set(survey.candidates["system"].to_pylist()) == {"picture search", "keyword search"}
    judge = SimulatedReviewer("anna", 0.0)
    answer(day, day.config, detail, lambda anchor, product: product.endswith("1"), judge)
    evaluate(day.lake, day.config, "search")
    systems = read_assessment(day.lake, "search").tables["metrics"]["system"].unique().to_pylist()
    assert set(systems) >= {"picture search", "keyword search"}
    assert judge_survey(day.lake, day.config, "search").same


def _texts(path: Path) -> Path:
    path.write_text("red mug\tkitchen\n\nblack lamp\n")
    return path


def test_what_cannot_be_asked_is_said(day, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="review sample"):
        evaluate(day.lake, day.config, PROFILE)
    with pytest.raises(InputError, match="no file"):
        ask(day, day.config, also=(f"old={tmp_path / 'none.parquet'}",))
    with pytest.raises(InputError, match="no profile 'rival'; there are same_item"):
        ask(day, day.config, also=("rival",))
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(InputError, match="no text"):
        read_texts(empty)
    empty.write_text("red mug\nRed  mug\nred mug")
    with pytest.raises(InputError, match="twice"):
        read_texts(empty)


def test_a_watched_inbox_takes_files_while_another_run_writes_to_the_lake(day, truth) -> None:
    config = with_review(day.config, stable_seconds=0)
    detail = ask(day, config)
    command = [Path(sys.executable).with_name("mmprod"), "review", "collect", "--watch", "--json"]
    environment = {**os.environ, "MMPROD_REVIEW__STABLE_SECONDS": "0"}
    with day.lake.writing(), subprocess.Popen(command, cwd=day.folder, env=environment) as watching:
        try:
            inbox = day.lake.inbox
            inbox.mkdir(parents=True, exist_ok=True)
            SimulatedReviewer("anna").fill_in(Path(detail["sheet"]), inbox / "anna.csv", truth)
            deadline = time.monotonic() + 60
            while not list(inbox.glob("done/*.csv")) and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            watching.terminate()
    assert [path.name.endswith("anna.csv") for path in inbox.glob("done/*")] == [True]
    assert read_judgements(day.lake).num_rows == detail["asked"]
