"""What the report of an evaluation shows."""

import re
from collections.abc import Sequence

import pyarrow.compute as pc
import pytest

from mmprod.report.page import Card, Figure, Part, Table, percent, render
from mmprod.report.page import Page as Report
from mmprod.report.review.evaluation import evaluation_page
from mmprod.stages.review.evaluation import Evaluated


def part(report: Report, title: str) -> Part:
    return next(part for part in report.parts if part.title == title)


def titles(report: Report) -> list[str]:
    return [part.title for part in report.parts]


def cells(table: Table, *names: object) -> Sequence[object]:
    """The row that begins with `names`."""
    return next(row for row in table.rows if tuple(row[: len(names)]) == names)


def test_headlines_are_the_estimated_figures_with_their_intervals(
    report: Report, evaluated: Evaluated
) -> None:
    metrics = evaluated.assessment.tables["metrics"].to_pylist()
    wanted = {
        (row["system"], row["measure"]): Figure(row["value"], row["low"], row["high"])
        for row in metrics
        if (row["facet"], row["variant"]) == ("all", "pooled")
    }
    shown = {
        (system, headline.label): headline.figure
        for system, headlines in part(report, "In short").headlines
        for headline in headlines
    }
    called = {"precision": "precision", "P@8": "P@8", "AP@8": "mAP@8", "R@8": "recall@8"}
    assert shown == {(system, called[measure]): figure for (system, measure), figure in wanted.items()}
    assert next(iter(shown)) == ("similar_item", "precision"), "the reviewed profile comes first"
    html = render(report)
    for figure in shown.values():
        assert percent(figure.value) in html and percent(figure.low) in html and percent(figure.high) in html


def test_alerts_comparison_and_careless_reviewers_are_told_in_words(
    report: Report, evaluated: Evaluated
) -> None:
    said = [(notice.text, notice.kind) for notice in part(report, "In short").notices]
    assert evaluated.assessment.alerts, "nothing to show"
    assert (f"Alert: {evaluated.assessment.alerts[0]}", "bad") in said
    assert any(
        re.match(r"similar_item is ahead of titles_only by \d+\.\d points in precision", t) for t, _ in said
    )
    assert any(text.startswith("Max looks careless: ") and kind == "bad" for text, kind in said)
    assert not any(text.startswith(("Ana", "Bo", "Li")) for text, _ in said)


@pytest.mark.parametrize(("facet", "title"), [("category", "By category"), ("sales", "By sales")])
def test_figures_by_scope_show_the_three_variants(
    report: Report, evaluated: Evaluated, facet: str, title: str
) -> None:
    table = part(report, title).tables[0]
    rows = [
        row
        for row in evaluated.assessment.tables["metrics"].to_pylist()
        if (row["facet"], row["measure"]) == (facet, "precision")
    ]
    assert table.headings == (facet, "system", "estimated", "judged only", "at worst", "anchors")
    for row in rows:
        place = 2 + ("pooled", "judged", "pessimistic").index(row["variant"])
        shown = cells(table, row["scope"], row["system"])
        assert shown[place] == Figure(row["value"], row["low"], row["high"])
    assert len(table.rows) == len({(row["scope"], row["system"]) for row in rows})
    if facet == "sales":
        assert [row[0] for row in table.rows][::2] == ["top 10 %", "10–50 %", "rest"]
    else:
        values = [row[2].value for row in table.rows if row[1] == "similar_item"]
        assert values == sorted(values), "weakest first"


def test_thresholds_differences_and_gains_are_those_of_the_tables(
    report: Report, evaluated: Evaluated
) -> None:
    tables = evaluated.assessment.tables
    limit = tables["thresholds"].to_pylist()[0]
    shown = cells(part(report, "Score thresholds").tables[0], "everything", percent(limit["wanted"]))
    assert shown[2:4] == (f"{limit['threshold']:.3f}", percent(limit["precision"]))
    assert len(part(report, "Score thresholds").plots) == 2
    for row in tables["differences"].to_pylist():
        if (row["facet"], row["measure"]) == ("all", "precision"):
            shown = cells(part(report, "similar_item against titles_only").tables[0], "precision")
            assert (shown[3].value, shown[3].low, shown[3].high) == (
                row["difference"],
                row["low"],
                row["high"],
            )
        if (row["scope"], row["measure"]) == ("Home", "precision"):
            gain = part(report, "What it is worth").tables[0].rows[0]
            assert gain[4:6] == ("0.4", f"{40 * row['difference']:+.1f}".replace("-", "−"))


def test_worst_anchors_are_shown_with_their_lists_and_marks(report: Report, evaluated: Evaluated) -> None:
    judged = evaluated.judged
    pairs = {(p["anchor_id"], p["product_id"]): p["pair_id"] for p in judged.pairs.to_pylist()}
    strips = part(report, "Worst anchors").strips
    assert strips
    marks = {True: "right", False: "wrong", None: "open"}
    for strip in strips:
        anchor = strip.lead.product_id
        mask = pc.and_(
            pc.equal(judged.candidates["anchor_id"], anchor),
            pc.equal(judged.candidates["system"], "similar_item"),
        )
        listed = judged.candidates.filter(mask).sort_by("rank")["product_id"].to_pylist()
        assert [card.product_id for card in strip.cards] == listed
        for shown in strip.cards:
            assert shown.mark == marks[judged.same.get(pairs.get((anchor, shown.product_id), ""))]
            assert shown.picture or shown.title
    wrong = [sum(card.mark == "wrong" for card in strip.cards) for strip in strips]
    assert wrong[0] >= 2, "the first has something to show"


def test_reviewers_contested_pairs_and_coverage_match_the_tables(
    report: Report, evaluated: Evaluated
) -> None:
    tables = evaluated.assessment.tables
    rows = part(report, "Reviewers").tables[0].rows
    for row, shown in zip(tables["quality"].to_pylist(), rows, strict=True):
        assert shown[:3] == (row["reviewer"], row["answers"], percent(row["same_share"]))
        assert shown[3] == Figure(row["gold_right"], row["gold_low"], row["gold_high"])
    contested = tables["contested"].to_pylist()
    strips = part(report, "Contested pairs").strips
    assert f"{len(contested):,} pairs" in part(report, "Contested pairs").text
    for row, strip in zip(contested, strips, strict=False):
        assert strip.heading == f"same: {', '.join(row['same'])} · not: {', '.join(row['different'])}"
        assert (strip.lead.product_id, strip.cards[0].product_id) == (row["anchor_id"], row["product_id"])
    covered = [
        row for row in tables["metrics"].to_pylist() if row["measure"] == "judged" and row["facet"] == "all"
    ]
    shown = cells(part(report, "Coverage").tables[0], "everything")
    assert [figure.value for figure in shown[1:]] == [row["value"] for row in covered]


def test_the_sample_is_told_with_its_weights(report: Report, evaluated: Evaluated) -> None:
    anchors = evaluated.judged.anchors
    rows = part(report, "How the sample was drawn").tables[0].rows
    assert sum(row[3] for row in rows) == anchors.num_rows
    assert sum(row[2] for row in rows) == round(sum(anchors["weight"].to_pylist()))
    assert sum(row[5] for row in rows) == evaluated.judged.pairs.num_rows
    assert sum(row[6] for row in rows) == sum(
        p in evaluated.judged.same for p in evaluated.judged.pairs["pair_id"].to_pylist()
    )


def test_parts_with_nothing_to_say_are_left_out(first, review) -> None:
    wanting_none = review.model_copy(update={"wanted_precision": ()})
    page = evaluation_page(first, wanting_none, lambda name, note, mark: Card(name, "", None, note, mark))
    left = ["In short", "All figures", "Score thresholds", "Worst anchors", "Reviewers", "Coverage"]
    assert titles(page) == [*left, "How the sample was drawn", "Glossary"]
    html = render(page)
    assert "No pair was answered by two reviewers" in html
    assert "none stands for others" in html
    assert "no picture" in html and "(no title)" in html


def test_text_searches_stand_beside_each_other(shop, searched, review, hostile) -> None:
    page = evaluation_page(searched, review, shop.card)
    strips = part(page, "Text searches").strips
    assert "Worst anchors" not in titles(page)
    assert len(strips) == 6
    assert {strip.heading for strip in strips[::2]} == {"“table lamp”", f"“{hostile}”", "“watch”"}
    assert all(strip.note.startswith(("picture search", hostile)) for strip in strips)
    assert all(strip.lead.text for strip in part(page, "Contested pairs").strips)
