"""The page in a real browser: what a reviewer does, and what the file he hands in holds."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from mmprod.eval.sheets.csv_file import write_csv
from mmprod.eval.sheets.page import write_html
from mmprod.eval.sheets.sheet import COLUMNS, Row, Side
from mmprod.storage.errors import InputError

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
Visit = Callable[..., Page]


@pytest.fixture
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    options = getattr(request, "param", DESKTOP)
    context = browser.new_context(**options, locale="en-GB", accept_downloads=True)
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, tmp_path: Path) -> Iterator[Visit]:
    """Writes a sheet and opens it; afterwards: no request left the page, no error was thrown."""
    asked: list[str] = []
    errors: list[str] = []

    def opened(rows: list[Row], reviewer: str = "anna", begin: bool = True) -> Page:
        path = tmp_path / "week 47.html"
        write_html(path, rows, "Week <47>", reviewer)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        if begin and page.locator("#start").is_visible():
            start(page)
        return page

    yield opened
    assert not errors
    assert all(url.startswith(("file:", "data:image/jpeg;base64,", "blob:")) for url in asked)


def start(page: Page) -> None:
    page.locator("#begin").click()
    expect(page.locator("#start")).not_to_be_visible()


def downloaded(page: Page) -> bytes:
    with page.expect_download() as download:
        page.locator("#download").click()
    assert re.fullmatch(r"week 47-[\w-]+\.csv", download.value.suggested_filename)
    return download.value.path().read_bytes()


def answers(page: Page) -> list[tuple[str, str]]:
    text = downloaded(page).decode("utf-8-sig")
    return [(row["label"], row["reviewer"]) for row in csv.DictReader(io.StringIO(text, newline=""))]


def press(page: Page, keys: str) -> None:
    for key in keys:
        page.keyboard.press({" ": "Space", "<": "ArrowLeft", ">": "ArrowRight"}.get(key, key))


def test_an_unanswered_page_gives_the_very_file_of_the_csv_sheet(visit, rows, tmp_path):
    write_csv(tmp_path / "sheet.csv", rows)
    assert downloaded(visit(rows)) == (tmp_path / "sheet.csv").read_bytes()


def test_labelling_by_keyboard(visit, rows):
    page = visit(rows)
    press(page, "1s0d uU>1")
    expect(page.locator("#count")).to_have_text("10 / 12")
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "8")
    same, different, none = ("1", "anna"), ("0", "anna"), ("", "")
    assert answers(page)[:10] == [same, same, different, different, none, none, none, none, same, none]


def test_undo_goes_back_to_the_question_and_its_former_answer(visit, rows):
    page = visit(rows)
    press(page, "11<0zz")
    expect(page.locator("#count")).to_have_text("2 / 12")
    assert answers(page)[:2] == [("1", "anna"), ("", "")]
    press(page, "z")
    page.locator("#undo").wait_for()
    expect(page.locator("#undo")).to_be_disabled()
    assert not any(label for label, _ in answers(page))


@pytest.mark.parametrize("context", [PHONE], indirect=True)
def test_labelling_by_touch_on_a_phone(visit, rows):
    page = visit(rows)
    for name in ("same", "different", "unsure", "same"):
        page.locator(f"#{name}").tap()
    assert [label for label, _ in answers(page)][:5] == ["1", "0", "", "1", ""]
    boxes = [page.locator(f"#{name}").bounding_box() for name in ("same", "unsure", "different")]
    assert all(
        box["height"] >= 64 and box["width"] >= 80 and box["y"] + box["height"] <= 844 for box in boxes
    )
    left, right = (page.locator(f"#{name} .picture").bounding_box() for name in ("left", "right"))
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_reloading_keeps_answers_name_and_place(visit, rows):
    page = visit(rows)
    press(page, "101")
    page.locator("#who").click()
    page.locator("#name").fill("=Bo 王")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).not_to_be_visible()
    page.reload()
    expect(page.locator("#start")).not_to_be_visible()
    expect(page.locator("#count")).to_have_text("4 / 12")
    assert answers(page)[:4] == [("1", "'=Bo 王"), ("0", "'=Bo 王"), ("1", "'=Bo 王"), ("", "")]


def test_another_sheet_has_answers_of_its_own(visit, rows):
    press(visit(rows), "111")
    page = visit(rows[1:])
    expect(page.locator("#count")).to_have_text("1 / 11")
    assert not any(label for label, _ in answers(page))


def test_two_tabs_of_one_sheet_show_the_same_answers(visit, rows):
    first, second = visit(rows), visit(rows)
    press(second, "10")
    expect(first.locator("#progress")).to_have_attribute("aria-valuenow", "2", timeout=20_000)


def test_a_browser_that_keeps_nothing_says_so(visit, context, rows):
    context.add_init_script("Storage.prototype.setItem = () => { throw new Error('full') }")
    page = visit(rows)
    expect(page.get_by_role("alert")).to_contain_text("download your answers")
    press(page, "1")
    assert answers(page)[0] == ("1", "anna")


@pytest.mark.parametrize(
    "kept", ["", "{", "null", "[]", '{"labels": 7}', '{"labels": "1"}', '{"labels": "xyz"}']
)
def test_spoiled_storage_does_no_harm(visit, context, rows, kept):
    context.add_init_script(f"Storage.prototype.getItem = () => {kept!r}")
    page = visit(rows[:3])
    assert answers(page) == [("", "")] * 3


def test_hostile_words_stay_text(visit, rows):
    page = visit(rows)
    shown = []
    for _ in rows:
        shown.append(page.locator("#left h2").text_content())
        press(page, ">")
    assert shown == [row.anchor.title or "(no title)" for row in rows]
    assert page.locator("#left dd").first.text_content() == "<b>11</b>"
    assert page.evaluate("window.broken") is None
    assert page.title() == "Week <47>"


def test_a_text_that_was_searched_for_is_shown_large(visit, text_rows):
    page = visit(text_rows)
    expect(page.locator("#left .query")).to_have_text("red <striped> mug")
    expect(page.locator("#asked")).to_have_text("Does the product fit the search?")
    expect(page.locator("#note")).to_have_text("listing 1")
    expect(page.get_by_role("button", name="Doesn’t fit")).to_be_visible()


def test_the_page_speaks_chinese(visit, rows):
    page = visit(rows)
    page.locator("#language").click()
    expect(page.locator("#asked")).to_have_text("这两个是同一款商品吗？")
    assert page.locator("#left dt").all_text_contents() == ["品牌", "价格"]
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    page.reload()
    expect(page.get_by_role("button", name="同款")).to_be_visible()


def test_every_word_is_there_in_both_languages(visit, rows):
    page = visit(rows)
    english, chinese = (page.evaluate(f"Object.keys(WORDS.{name})") for name in ("en", "zh"))
    assert english == chinese


def test_the_name_is_asked_before_the_answers_are_given(visit, rows):
    page = visit(rows, reviewer="", begin=False)
    expect(page.locator("#name")).to_be_focused()
    start(page)
    page.locator("#download").click()
    expect(page.locator("#start-lead")).to_contain_text("write your name")
    page.locator("#name").fill("Cy")
    start(page)
    press(page, "1")
    assert answers(page)[0] == ("1", "Cy")


def test_the_last_answer_leads_to_what_is_left(visit, rows):
    page = visit(rows[:3])
    press(page, "1>0")
    expect(page.locator("#done-lead")).to_have_text("2 of 3 answered, 0 unsure, 1 to do.")
    page.locator("#rest").click()
    expect(page.locator("#count")).to_have_text("1 / 1")
    press(page, "1")
    expect(page.locator("#done-title")).to_have_text("All done. Thank you!")


def test_the_filter_shows_only_such_questions(visit, rows):
    page = visit(rows)
    press(page, "1010 ")
    page.locator("#filter").select_option("different")
    expect(page.locator("#count")).to_have_text("1 / 2")
    page.locator("#filter").select_option("unsure")
    expect(page.locator("#left .id")).to_have_text(rows[4].anchor.product_id)
    page.locator("#filter").select_option("all")
    expect(page.locator("#count")).to_have_text("5 / 12")


def test_keys_do_nothing_in_fields_with_modifiers_or_held_down(visit, rows):
    page = visit(rows, begin=False)
    page.locator("#name").fill("")
    page.keyboard.type("s10 d")
    start(page)
    page.keyboard.press("Control+s")
    page.keyboard.down("1")
    for _ in range(5):
        page.keyboard.down("1")  # repeats
    expect(page.locator("#count")).to_have_text("2 / 12")


def test_after_a_click_the_space_bar_still_means_unsure(visit, rows):
    page = visit(rows)
    page.locator("#same").click()
    press(page, " ")
    assert [label for label, _ in answers(page)][:2] == ["1", ""]
    page.locator("#different").focus()
    press(page, " ")  # reached by Tab, the button is what the space bar presses
    assert [label for label, _ in answers(page)][:3] == ["1", "", "0"]


def test_zoom_moves_both_pictures_together_and_ends_with_the_question(visit, rows):
    page = visit(rows[1:3])
    page.locator("#left .picture").click(position={"x": 30, "y": 40})
    for side in ("left", "right"):
        expect(page.locator(f"#{side} img")).to_have_css("transform", "matrix(2.5, 0, 0, 2.5, 0, 0)")
    press(page, "1")
    expect(page.locator(".zoomed")).to_have_count(0)


def test_nothing_moves_from_question_to_question(visit, rows):
    page = visit(rows)
    places = set()
    for _ in rows:
        boxes = [
            page.locator(name).bounding_box() for name in ("#left .picture", "#right h2", "#same", "#undo")
        ]
        places.add(tuple((box["x"], box["y"]) for box in boxes))
        press(page, ">")
    assert len(places) == 1


def test_the_next_pictures_are_decoded_ahead_and_few_are_kept(visit, rows):
    page = visit(rows)
    assert page.evaluate("images.size") >= 4
    page.evaluate("Promise.all([...images.values()].map((image) => image.decode()))")
    press(page, ">" * 11)
    assert page.evaluate("images.size") <= page.evaluate("KEPT_IMAGES")


def test_a_picture_that_is_none_is_said_to_be_missing(visit):
    row = Row("p1", Side("a", "A", b"no picture at all"), Side("b", "B", None))
    expect(visit([row]).locator(".none")).to_have_text(["no picture", "no picture"])


def test_what_is_read_aloud(visit, rows):
    page = visit(rows)
    press(page, "1<")
    expect(page.locator("#live")).to_have_text(re.compile(r"^Pair 1 of 12\. plain lamp — .*Same$", re.DOTALL))
    expect(page.locator("#same")).to_have_attribute("aria-pressed", "true")
    shown = page.locator("button:visible, img:visible").all()
    assert all(
        part.evaluate("(part) => part.ariaLabel || part.textContent.trim() || part.alt") for part in shown
    )


@pytest.mark.slow
def test_two_thousand_pairs_stay_fast(visit, rows):
    many = [Row(f"p{i:020d}", rows[i % 12].anchor, Side(f"x{i}", f"title {i}", None)) for i in range(2000)]
    page = visit(many)
    spent = page.evaluate(
        """() => {
          const from = performance.now();
          for (let i = 0; i < 100; i++) answer(SAME);
          return performance.now() - from;
        }"""
    )
    assert spent / 100 < 16  # milliseconds, one frame
    assert sum(label == "1" for label, _ in answers(page)) == 100


def test_a_sheet_without_questions_or_with_one_twice_is_not_written(tmp_path, rows):
    for bad, reason in (([], "no pair to ask about"), ([rows[0], rows[0]], "twice")):
        with pytest.raises(InputError, match=reason):
            write_html(tmp_path / "s.html", bad, "t")
    assert not (tmp_path / "s.html").exists()


def test_the_columns_are_those_of_the_sheet(visit, rows):
    header = downloaded(visit(rows[:1])).decode("utf-8-sig").splitlines()[0]
    assert header == ",".join(COLUMNS)
