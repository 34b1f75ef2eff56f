"""Reports and their index as a real browser shows them."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page

from mmprod.report.page import Link, Part, render, save
from mmprod.report.page import Page as Report
from mmprod.report.review.evaluation import evaluation_page
from mmprod.report.review.history import Entry, index_page
from mmprod.stages.review.evaluation import Evaluated


def part(report: Report, title: str) -> Part:
    return next(part for part in report.parts if part.title == title)


def titles(report: Report) -> list[str]:
    return [part.title for part in report.parts]


def look(window: Page, report: Report, path: Path) -> None:
    """Open a saved page with everything unfolded: it keeps to its width and to itself."""
    save(report, path)
    window.goto(path.as_uri())
    window.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    window.wait_for_timeout(50)
    wide, inner = window.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= inner, f"the page is {wide} wide in a window of {inner}"
    assert [url for url in window.asked if not url.startswith("data:")] == [path.as_uri()]  # type: ignore[attr-defined]
    assert not window.said  # type: ignore[attr-defined]


def test_the_report_in_a_browser(window: Page, report: Report, tmp_path: Path) -> None:
    look(window, report, tmp_path / "report.html")
    assert window.locator("section").count() == len(report.parts)
    pictures = window.evaluate("[...document.images].map(i => [i.loading, i.complete && i.naturalWidth])")
    assert len(pictures) > 100
    window.get_by_role("link", name="Glossary").click()
    assert window.get_by_role("heading", name="Glossary").is_visible()


def test_hostile_names_stay_text_in_a_browser(
    window: Page, shop, searched, review, hostile, tmp_path: Path
) -> None:
    look(window, evaluation_page(searched, review, shop.card), tmp_path / "report.html")
    assert window.evaluate("window.broken") is None
    assert window.get_by_role("heading", level=1).inner_text() == f"Evaluation: {hostile}"
    assert window.locator("script").count() == 0


def entries(evaluated: Evaluated, name: str, count: int) -> list[Entry]:
    metrics = evaluated.assessment.tables["metrics"]
    return [
        Entry.of(
            name,
            f"g{i:06}",
            (datetime(2024, 3, 1, 9, tzinfo=UTC) + timedelta(days=7 * i)).isoformat(),
            f"{name}-{i}.html",
            metrics,
            "similar_item",
        )
        for i in range(count)
    ]


def test_the_index_leads_to_every_report(window: Page, evaluated: Evaluated, hostile, tmp_path: Path) -> None:
    made = [*entries(evaluated, "similar_item", 5), *entries(evaluated, "search", 1)]
    odd = dataclasses.replace(made[4], link="javascript:alert(1) #?.html", alerts=[hostile])
    page = index_page([*made[:4], odd, *made[5:]])
    assert titles(page) == ["All surveys", "search", "similar_item", "Glossary"]
    table = part(page, "similar_item").tables[0]
    assert [row[0].file for row in table.rows] == [
        odd.link,
        *(f"similar_item-{i}.html" for i in (3, 2, 1, 0)),
    ]
    assert table.rows[0][1] == part(page, "similar_item").headlines[0][1][0].figure
    assert len(part(page, "similar_item").plots) == 4 and not part(page, "search").plots
    look(window, page, tmp_path / "index.html")
    (tmp_path / "similar_item-3.html").write_text("there")
    (tmp_path / odd.link).write_text("odd")
    links = window.locator("td a")
    assert links.count() == 6
    for number, text in ((1, "odd"), (2, "there")):
        links.nth(number).click()
        assert window.locator("body").inner_text() == text
        window.go_back()


def test_an_index_of_nothing_is_a_page() -> None:
    assert "0" in render(index_page([]))


def test_a_link_stays_in_its_folder() -> None:
    assert Link("x", "javascript:alert(1)").address == "./javascript%3Aalert%281%29"
