"""The command line: exit codes, errors that say what to do, and JSON from every command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mmprod.cli.app import app

Run = Callable[..., Result]


@pytest.fixture
def mmprod(grown, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the grown world, as from its folder."""
    monkeypatch.chdir(grown.folder)

    def run(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["mmprod", *words])
        return CliRunner().invoke(app, list(words))

    return run


def parsed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_every_reading_command_speaks_json(mmprod: Run, grown, tmp_path: Path) -> None:
    assert parsed(mmprod("status", "--json"))["status"]
    assert parsed(mmprod("verify", "--json"))["problems"] == []
    assert parsed(mmprod("store", "verify", "--json")) == {"problems": []}
    live = parsed(mmprod("store", "stats", "--json"))["live"]
    exported = parsed(mmprod("store", "export", str(tmp_path / "out.parquet"), "--json"))
    assert exported["rows"] == live > 0
    assert parsed(mmprod("config", "show", "--json"))["encoder.batch"]["value"] == 4
    found = parsed(mmprod("search", "red mug", "--top", "3", "--json"))["results"]
    assert [f["rank"] for f in found] == [1, 2, 3]
    product = found[0]["product_id"]
    assert parsed(mmprod("store", "get", product, "--json"))["product_id"] == product
    assert len(parsed(mmprod("search", "--product", product, "--json"))["results"]) == 10
    page = tmp_path / "report.html"
    assert parsed(mmprod("report", "--query", "red mug", "--anchor", product, "--out", str(page), "--json"))
    assert "data:image/jpeg;base64," in page.read_text()


def test_tables_for_people(mmprod: Run) -> None:
    for words in (["status"], ["store", "stats"], ["config", "show"], ["search", "red mug"]):
        result = mmprod(*words)
        assert result.exit_code == 0, result.output
        assert result.stdout.strip()


def test_an_answer_with_pictures_is_one_page(mmprod: Run, tmp_path: Path) -> None:
    page = tmp_path / "answer.html"
    assert mmprod("search", "red <b>mug</b>", "--out", str(page)).exit_code == 0
    text = page.read_text()
    assert text.count("data:image/jpeg") == 10
    assert "<b>mug" not in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search"], "say what to look for"),
        (["search", "mug", "--product", "D1"], "say what to look for"),
        (["search", "mug", "--profile", "nope"], "no profile 'nope'"),
        (["search", "mug", "--category", "Nowhere"], "unknown category"),
        (["search", "mug", "--top", "0"], "k is 0"),
        (["search", "--product", "nobody"], "'nobody'"),
        (["store", "get", "nobody"], "no product 'nobody'"),
        (["run", "--day", "2025-01-01", "--table", "none.parquet"], "none.parquet"),
        (["review", "collect", "none.csv"], "none.csv"),
        (["status", "--config", "none.toml"], "none.toml"),
        (["index", "rollback", "--profile", "same_item"], "nothing older"),
        (["release", "rollback"], "nothing to go back to"),
        (["encoder", "promote", "nope"], "no encoder 'nope'"),
        (["embed", "--candidate", "nope"], "no encoder 'nope'"),
        (["embed", "--candidate", "tiny", "--shard", "0"], "another one"),
        (["report"], "nothing to report"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_to_do(mmprod: Run, words: list[str], message: str) -> None:
    result = mmprod(*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    machine = mmprod(*words, "--json")
    assert machine.exit_code == 2
    assert message in json.loads(machine.stdout)["error"]


def test_missing_state_ends_with_1(mmprod: Run, tmp_path: Path) -> None:
    result = mmprod("search", "--product", "D1", "--lake", str(tmp_path / "empty"))
    assert result.exit_code == 1
    assert "ingest a day first" in result.stderr


def test_while_another_run_writes_a_second_one_is_refused(mmprod: Run, grown) -> None:
    table, day = grown.days[0]
    with grown.lake.writing():
        result = mmprod("run", "--day", day.isoformat(), "--table", str(table))
    assert result.exit_code == 1
    assert "--wait" in result.stderr


@pytest.mark.slow
def test_a_full_disk_is_a_clean_error_and_the_retry_works(world, forked_day) -> None:
    for point in ("ingest.transaction", "embed.committed", "artifact.written", "index.built"):
        done = forked_day(world.folder, 1, MMPROD_FAULT=f"{point}:1:enospc")
        assert done.status == 1, done.err
        assert "No space left on device" in done.err
        assert "Traceback" not in done.err
    assert forked_day(world.folder, 1).status == 0


def test_a_full_disk_that_lance_meets_is_told_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors have no errno."""
    text = "LanceError(IO): External error: No space left on device (os error 28), lance-io/src/local.rs:200"
    monkeypatch.setattr("mmprod.stages.status.lake_status", lambda *_: (_ for _ in ()).throw(OSError(text)))
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 1
    assert "No space left on device: the lake; free some space and run again" in result.stderr


def test_the_review_loop_by_commands(world, monkeypatch: pytest.MonkeyPatch) -> None:
    import csv

    world.run(1)
    monkeypatch.chdir(world.folder)

    def run(*words: str) -> Any:
        return parsed(CliRunner().invoke(app, [*words, "--json"]))

    sheet = Path(run("review", "sample")["stages"][0]["detail"]["sheet"])
    rows = list(csv.DictReader(sheet.read_text("utf-8-sig").splitlines()))
    for number, row in enumerate(rows):
        row |= {"label": ("是", "0", "maybe")[number % 3], "reviewer": "anna"}
    filled = world.folder / "filled.csv"
    with filled.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (collected,) = run("review", "collect", str(filled))["stages"]
    accepted = sum(number % 3 != 2 for number in range(len(rows)))
    assert (collected["changed"], collected["refused"]) == (accepted, len(rows) - accepted)
    assert "maybe" in Path(collected["detail"]["rejected_file"]).read_text("utf-8-sig")
    assert run("review", "collect", str(filled))["stages"][0]["reused"] == len(rows)
    evaluated = run("evaluate", "survey", "--strict", "--trec-out", "trec")
    metrics = {(m["scope"], m["measure"], m["variant"]): m for m in evaluated["metrics"]}
    precision = metrics["all", "precision", "pooled"]
    assert precision["low"] < precision["value"] < precision["high"]
    assert Path(evaluated["report"]).is_file()
    measured = run("evaluate", "trec", "trec/run-same_item.txt", "trec/qrels.txt")
    assert {row["measure"] for row in measured["measures"]} == {"AP", "P@10", "R@100", "nDCG@10"}
    (anna,) = run("review", "reviewers")["reviewers"]
    assert anna["reviewer"] == "anna"
    assert run("review", "conflicts") == {"pairs": 0, "sheet": None}
    planned = run("review", "plan", "--margin", "0.2")
    assert planned["total"]["anchors"] == sum(row["anchors"] for row in planned["categories"])


def test_foreign_tables_and_labels_are_evaluated_without_a_lake(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        f"a{a},p{a}{rank},{1 - rank / 10},{'tea' if a % 2 else 'pots'}"
        for a in range(8)
        for rank in range(1, 4)
    ]
    Path("recall.csv").write_text("\n".join(["anchor_id,product_id,score,category", *rows]))
    labels = ["a1,nobody,yes,anna"]
    labels += [
        f"a{a},p{a}{rank},{'yes' if rank < 3 else 'no'},anna" for a in range(8) for rank in range(1, 4)
    ]
    Path("labels.csv").write_text("\n".join(["anchor_id,product_id,label,reviewer", *labels]))
    words = ["evaluate", "recall", "recall.csv", "labels.csv", "--out", "report.html", "--json"]
    found = parsed(CliRunner().invoke(app, words))
    (precision,) = (
        row["value"]
        for row in found["metrics"]
        if (row["scope"], row["measure"], row["variant"]) == ("all", "precision", "pooled")
    )
    assert precision == pytest.approx(2 / 3)
    assert (found["files"][0]["accepted"], found["files"][0]["rejected"]) == (24, 1)
    assert "nobody" in Path("labels.rejected.csv").read_text("utf-8-sig")
    assert "tea" in Path("report.html").read_text()


def test_rollback_serves_the_generation_before(world, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(1, 2)
    monkeypatch.chdir(world.folder)
    result = CliRunner().invoke(app, ["index", "rollback", "--profile", "same_item"])
    assert (result.exit_code, result.stdout.strip()) == (0, "same_item is served by g000001")
    assert CliRunner().invoke(app, ["search", "mug", "--profile", "same_item"]).exit_code == 0


def test_groups_are_evaluated_against_the_true_ones(tmp_path, monkeypatch) -> None:
    """Pure are 1 of 2 groups; 2 of 4 pairs put together belong so, of 2 that do."""
    monkeypatch.chdir(tmp_path)
    Path("groups.csv").write_text(
        "product_id,group_id\n" + "".join(f"{p},{g}\n" for p, g in zip("abcde", "11222", strict=True))
    )
    Path("truth.csv").write_text(
        "product_id,group_id\n" + "".join(f"{p},{g}\n" for p, g in zip("abcde", "xxyyz", strict=True))
    )
    words = ["evaluate", "groups", "groups.csv", "truth.csv", "--json"]
    found = parsed(CliRunner().invoke(app, words))["groups"]
    assert found["pure"]["value"] == pytest.approx(0.5)
    values = [found[f"pair {name}"]["value"] for name in ("precision", "recall")]
    assert values == pytest.approx([0.5, 1.0])
    Path("truth.csv").write_text("product_id,group_id\na,1\na,2\n")
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, "'1' and '2'" in refused.output) == (2, True)
