"""Titles: one normal form, reached in one step, whatever comes in."""

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.datasets.text import MAX_CHARS, normalise_title

FAMILY = "👨‍👩‍👧"


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (None, ""),
        ("", ""),
        ("  \t\n ", ""),
        ("Red Dress", "Red Dress"),
        ("  Red \u3000\n Dress ", "Red Dress"),
        ("连衣裙 女 夏季", "连衣裙 女 夏季"),
        ("ＡＢＣ　１２３", "ABC 123"),
        ("Cafe\u0301", "Café"),
        ("ﬁne Ⅳ ½", "fine IV 1⁄2"),
        ("<b>Red</b> dress<br/>new", "Red dress new"),
        ("a<script>alert('x')</script>b<style>p{}</style>c<!-- d -->e", "a b c e"),
        ("shoes <script>never closed", "shoes never closed"),
        ("5 < 6 and 7 > 3 <3", "5 < 6 and 7 > 3 <3"),
        ("<新款> 裙", "<新款> 裙"),
        ("Salt &amp; Pepper &lt;b&gt;x&lt;/b&gt; &#39;s &#x41;", "Salt & Pepper x 's A"),
        ("&amp;amp;lt;i&amp;gt;x", "x"),
        ("Rock&notes AT&T H&M", "Rock&notes AT&T H&M"),
        ("＜b＞x＜/b＞", "x"),
        ("\x1b[31mRed\x1b[0m \x1b]0;title\x07Dress\x00\x08", "Red Dress"),
        ("Re\u200bd\u202eDress\ufeff\u00ad", "RedDress"),
        ("bad\ud800 surrogate", "bad\ufffd surrogate"),
        ("pair \ud83d\ude00", "pair 😀"),
        (f"{FAMILY} ❤️ 1️⃣", f"{FAMILY} ❤️ 1️⃣"),
        ("a\u200db\ufe0f 葛\U000e0100", "ab 葛"),
        ("™️", "TM"),
        ("e" + "\u0323" * 4 + "\u0330" * 3000, "ẹ" + "\u0323" * 3),
    ],
)
def test_known_titles(raw: str | None, normal: str) -> None:
    assert normalise_title(raw) == normal
    assert normalise_title(normal) == normal


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("title", ["Crème brûlée ｆｕｌｌ", "한국어 드레스", "ガールズ ﾜﾝﾋﾟｰｽ", "Việt Nam"])
def test_every_unicode_form_has_one_normal_form(title: str, form: str) -> None:
    assert normalise_title(unicodedata.normalize(form, title)) == normalise_title(title)  # type: ignore[arg-type]


def test_the_cap_counts_characters_and_leaves_no_torn_end() -> None:
    assert normalise_title("x" * 5000) == "x" * MAX_CHARS
    assert normalise_title("x" * (MAX_CHARS - 1) + " yz") == "x" * (MAX_CHARS - 1)
    torn = normalise_title("x" * (MAX_CHARS - 2) + FAMILY)
    assert torn == "x" * (MAX_CHARS - 2) + "👨" == normalise_title(torn)


PIECES = st.sampled_from(
    [
        *(
            "&",
            "amp;",
            "&amp;",
            "lt;",
            "&#38;",
            "&#x3c;",
            "#60;",
            "<",
            ">",
            "b",
            "script>",
            "<!--",
            "-->",
            "</",
        ),
        *"＜＆；m1™￡¨ﷺ❤👩 ",
        *"\u0301\u0327\u200d\ufe0f\u20e3\u1100\u1161\u11a8\ud83d\ude00\u3000\u200b\u1160\x9b\x1b[",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=40).map("".join)))
def test_normalising_twice_changes_nothing(raw: str) -> None:
    once = normalise_title(raw)
    assert normalise_title(once) == once
    assert len(once) <= MAX_CHARS
    assert once == " ".join(once.split())
    assert not [c for c in once if unicodedata.category(c) in ("Cc", "Cs")]
    once.encode()


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_plain_titles_take_the_short_way_to_the_same_place(raw: str) -> None:
    # A tab in front closes the short way.
    assert normalise_title("\t" + raw) == normalise_title(raw)


@pytest.mark.parametrize(
    "unit",
    [
        *("<script>", "<!--", "<", "<b ", "&amp;", "&amp", "amp;&", "&#38;#38;", "&#" + "9" * 50),
        *(
            "\u0301\u0323",
            "a\u0301\u0316\u0323\u0327\u0345",
            "\U0001d165\U0001d16d",
            "ﷺ",
            "👩\u200d",
            "\u200d",
        ),
        *("\x1b[", "\x1b]", "\x00", " \u3000", "\ud800"),
    ],
)
def test_a_hostile_megabyte_is_done_in_linear_time(unit: str) -> None:
    raw = unit * (1_000_000 // len(unit))
    start = time.process_time()
    once = normalise_title(raw)
    assert time.process_time() - start < 4
    assert normalise_title(once) == once
